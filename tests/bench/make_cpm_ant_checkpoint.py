#!/usr/bin/env python3
"""A CPM-Ant of full size as CPM-Live's checkpoint: fp16 .pt (zip64) and its json, random weights, never held in memory. Needs torch and numpy.

usage: make_cpm_ant_checkpoint.py FOLDER [--layers 48] [--ff 10240] [--heads 32]

48 layers are the 10B model: 18.8 GB. For measuring `compress` (docs/benchmarks.md).
"""
import argparse
import io
import json
import os
import pickle
import zipfile

import numpy as np
import torch

a = argparse.ArgumentParser()
a.add_argument("folder")
a.add_argument("--layers", type=int, default=48)
a.add_argument("--ff", type=int, default=10240)
a.add_argument("--heads", type=int, default=32)
a = a.parse_args()
D, K, V = 4096, 128, 30720
INNER = a.heads * K


class Stored:
    """A tensor whose bytes are written later."""

    def __init__(self, shape):
        self.shape = shape
        self.key = str(len(tensors))
        tensors.append(self)

    def elements(self):
        return int(np.prod(self.shape))

    def __reduce__(self):
        strides = [int(np.prod(self.shape[i + 1:])) for i in range(len(self.shape))]
        return torch._utils._rebuild_tensor_v2, (Storage(self), 0, tuple(self.shape), tuple(strides), False, {})


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            return "storage", torch.HalfStorage, thing.tensor.key, "cpu", thing.tensor.elements()
        return None


tensors, state = [], {}
for i in range(a.layers):
    attention, ff = f"encoder.layers.{i}.self_att.", f"encoder.layers.{i}.ffn."
    state[attention + "layernorm_before_attention.weight"] = Stored((D,))
    for name in "qkv":
        state[attention + f"self_attention.project_{name}.weight"] = Stored((INNER, D))
    state[attention + "self_attention.attention_out.weight"] = Stored((D, INNER))
    state[ff + "layernorm_before_ffn.weight"] = Stored((D,))
    state[ff + "ffn.w_in.w_0.weight"] = Stored((a.ff, D))
    state[ff + "ffn.w_in.w_1.weight"] = Stored((a.ff, D))
    state[ff + "ffn.w_out.weight"] = Stored((D, a.ff))
state["encoder.output_layernorm.weight"] = Stored((D,))
state["prompt_embedding.weight"] = Stored((1024, D))
state["segment_embedding.weight"] = Stored((32, D))
state["input_embedding.weight"] = Stored((V, D))
state["position_bias.relative_attention_bias"] = Stored((1536, a.heads))

os.makedirs(a.folder, exist_ok=True)
config = dict(vocab_size=V, dim_model=D, dim_ff=a.ff, num_layers=a.layers, num_heads=a.heads, dim_head=K, dropout_p=0.0, position_bias_num_buckets=512, position_bias_max_distance=2048, eps=1e-6,
              half=True, prompt_types=32, prompt_length=32, segment_types=32, mask_modules=None)
with open(os.path.join(a.folder, "cpm-ant.json"), "w") as out:
    json.dump(config, out)
block = np.random.default_rng(1).standard_normal(1 << 24).astype(np.float16).tobytes()
data = io.BytesIO()
Pickler(data, protocol=2).dump(state)
with zipfile.ZipFile(os.path.join(a.folder, "cpm-ant.pt"), "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
    archive.writestr("archive/data.pkl", data.getvalue())
    for tensor in tensors:
        with archive.open(f"archive/data/{tensor.key}", "w", force_zip64=True) as out:
            left, at = 2 * tensor.elements(), 2 * 4099 * int(tensor.key) % len(block)
            while left > 0:
                piece = block[at:at + left]
                out.write(piece)
                left -= len(piece)
                at = 0
    archive.writestr("archive/version", "3\n")
print(json.dumps({"tensors": len(tensors), "bytes": os.path.getsize(os.path.join(a.folder, "cpm-ant.pt"))}))
