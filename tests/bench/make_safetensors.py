#!/usr/bin/env python3
"""A LLaMA-type Hugging Face folder with random f16 weights, to measure `leafcutter compress` on. Standard library only.

usage: make_safetensors.py FOLDER [--shape llama-1.1b|llama-48x4096] [--layers N]
"""
import argparse
import json
import os
import pathlib
import struct

from make_gguf import SHAPES


def tensors(layers, dim, heads, kv_heads, ff, vocab):
    kv = dim // heads * kv_heads
    yield "model.embed_tokens.weight", (vocab, dim)
    for layer in range(layers):
        for name, shape in (("self_attn.q_proj", (dim, dim)), ("self_attn.k_proj", (kv, dim)), ("self_attn.v_proj", (kv, dim)), ("self_attn.o_proj", (dim, dim)),
                            ("mlp.gate_proj", (ff, dim)), ("mlp.up_proj", (ff, dim)), ("mlp.down_proj", (dim, ff)), ("input_layernorm", (dim,)), ("post_attention_layernorm", (dim,))):
            yield f"model.layers.{layer}.{name}.weight", shape
    yield "model.norm.weight", (dim,)
    yield "lm_head.weight", (vocab, dim)


def random_halves(count):
    """Halves of either sign between 2^-8 and 2^-5: no NaN, no infinity."""
    noise = bytearray(os.urandom(2 * count))
    for i in range(1, len(noise), 2):
        noise[i] = (noise[i] & 0x80) | 0x1C | (noise[i] & 0x0B)
    return bytes(noise)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--shape", choices=SHAPES, default="llama-1.1b")
    parser.add_argument("--layers", type=int)
    options = parser.parse_args()
    layers, dim, heads, kv_heads, ff, vocab = SHAPES[options.shape]
    layers = options.layers or layers
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": dim, "intermediate_size": ff, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocab, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": False, "torch_dtype": "float16", "bos_token_id": 1, "eos_token_id": 2}), encoding="ascii")
    header, at, sizes = {}, 0, []
    for name, shape in tensors(layers, dim, heads, kv_heads, ff, vocab):
        size = 2
        for n in shape:
            size *= n
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
        sizes.append(size)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    unit = random_halves(4000037)
    with open(options.folder / "model.safetensors", "wb", buffering=1 << 22) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        phase = 0
        for left in sizes:
            while left:
                part = unit[phase:phase + left]
                file.write(part)
                left -= len(part)
                phase = (phase + len(part)) % len(unit)


if __name__ == "__main__":
    main()
