#!/usr/bin/env python3
"""Small checkpoints as torch itself writes them, and what is in them. Needs torch, safetensors.

usage: make_torch.py LLAMA_FOLDER OUT_FOLDER

OUT_FOLDER gets *.pt with expected.json: file -> {"tensors": {name: {"dtype", "shape", "values"}}} or {"refused": [parts of the message]}; and folders NAME whose .bin files hold
the same model as LLAMA_FOLDER/NAME does in safetensors, with shared storages, parameters and views among them. No object with code of its own is ever saved: the ones that are
refused name functions of torch or of Python's library by pickle alone.
"""
import collections
import json
import os
import shutil
import sys
import warnings

import torch
from safetensors.torch import load_file

DTYPES = dict(float=torch.float32, half=torch.float16, bfloat=torch.bfloat16, double=torch.float64, long=torch.int64, int=torch.int32, short=torch.int16, char=torch.int8,
              byte=torch.uint8, bool=torch.bool)


class Command:
    def __reduce__(self):
        return os.system, ("touch leafcutter-ran-a-pickle",)


def views():
    base = torch.arange(48, dtype=torch.float32).reshape(6, 8) / 4
    out = collections.OrderedDict((name, torch.arange(6).reshape(2, 3).to(dtype)) for name, dtype in DTYPES.items())
    out.update(base=base, turned=base.t(), rows=base[1:5:2], columns=base[:, 1::3], part=base[2:4, 3:7], wide=base[0, :1].expand(3, 4), tall=base[:, 2:3].expand(6, 3),
               third=base.reshape(2, 3, 8).permute(2, 0, 1), one=base[3, 4], empty=torch.zeros(0, 4), parameter=torch.nn.Parameter(base[1]),
               frozen=torch.nn.Parameter(base[2].half(), requires_grad=False), big_stride=base[:, 7])
    return out


def module():
    linear = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    with torch.no_grad():
        for i, p in enumerate(linear.parameters()):
            p.copy_(torch.arange(p.numel()).reshape(p.shape) + i)
    return linear


def values_of(state):
    return {name: dict(dtype=str(t.dtype).removeprefix("torch."), shape=list(t.shape), values=[float(v) for v in t.detach().reshape(-1)])
            for name, t in state.items() if isinstance(t, torch.Tensor)}


def write_files(folder):
    expected = {}

    def save(name, content, state=None, refused=None, **settings):
        torch.save(content, os.path.join(folder, name), **settings)
        expected[name] = dict(refused=refused) if refused else dict(tensors=values_of(state))

    save("views.pt", views(), views())
    save("module.pt", module().state_dict(), module().state_dict())
    save("protocol4.pt", views(), views(), pickle_protocol=4)
    save("protocol5.pt", views(), views(), pickle_protocol=5)
    save("nested.pt", dict(epoch=3, rate=0.5, state_dict=module().state_dict(), name="x", steps=[1, 2, (3, None)]), module().state_dict())
    save("legacy.pt", module().state_dict(), refused=["before version 1.6"], _use_new_zipfile_serialization=False)
    save("whole_module.pt", module(), refused=["global torch.nn.modules.container.Sequential"])
    save("complex.pt", dict(w=torch.ones(2, dtype=torch.complex64)), refused=["global torch.ComplexFloatStorage"])
    save("sparse.pt", dict(w=torch.ones(2, 2).to_sparse()), refused=["global torch._utils._rebuild_sparse_tensor"])
    save("float8.pt", dict(w=torch.ones(2).to(torch.float8_e4m3fn)), refused=["global torch"])
    save("list.pt", [torch.ones(2)], refused=["something else than a state dict"])
    save("command.pt", dict(w=Command()), refused=["global posix.system", "nothing was executed"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(os.path.join(folder, "script.pt"))
    expected["script.pt"] = dict(refused=["TorchScript"])
    with open(os.path.join(folder, "expected.json"), "w") as file:
        json.dump(expected, file, separators=(",", ":"))


def write_models(llama, folder):
    def begin(name):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        shutil.copy(os.path.join(llama, name, "config.json"), os.path.join(folder, name))
        return load_file(os.path.join(llama, name, "model.safetensors"))

    tied = collections.OrderedDict(begin("tied-bf16"))
    tied["lm_head.weight"] = tied["model.embed_tokens.weight"]
    tied["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    tied._metadata = collections.OrderedDict({"": dict(version=1)})
    torch.save(tied, os.path.join(folder, "tied-bf16", "pytorch_model.bin"))

    odd = begin("odd-widths-f16")
    parts, index = [collections.OrderedDict(), collections.OrderedDict()], {}
    for i, (name, weight) in enumerate(odd.items()):
        if weight.dim() == 2 and i % 3 == 0:
            weight = weight.t().contiguous().t()
        elif weight.dim() == 2 and i % 3 == 1:
            weight = torch.cat([weight, weight], 1)[:, weight.shape[1]:]
        elif weight.dim() == 1:
            weight = torch.nn.Parameter(torch.stack([weight, weight], 1)[:, 1])
        parts[i % 2][name] = weight
        index[name] = f"pytorch_model-{i % 2 + 1:05}-of-00002.bin"
    for i, part in enumerate(parts):
        torch.save(part, os.path.join(folder, "odd-widths-f16", f"pytorch_model-{i + 1:05}-of-00002.bin"))
    with open(os.path.join(folder, "odd-widths-f16", "pytorch_model.bin.index.json"), "w") as file:
        json.dump(dict(metadata={}, weight_map=index), file, indent=1)


def main():
    llama, folder = sys.argv[1:3]
    torch.manual_seed(1)
    os.makedirs(folder, exist_ok=True)
    write_files(folder)
    write_models(llama, folder)


main()
