#!/usr/bin/env python3
"""Tiny LLaMA checkpoints with random weights in original file formats, and what transformers says about them. Needs torch, transformers, safetensors, numpy, gguf.

usage: make_llama.py OUT_FOLDER

Each case is a Hugging Face folder (config.json, model.safetensors or shards) or a .gguf, with golden.json:
{"source": file or folder name, "prompt": ids, "logits": [[...] of each prompt position], "greedy": ids that follow, "tolerance": of max|logit|}.
Logits are float32, eager attention. GGUF cases are judged against the weights that their blocks stand for.
"""
import json
import os
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

BASE = dict(vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
            rms_norm_eps=1e-5, hidden_act="silu", tie_word_embeddings=False, attention_bias=False, mlp_bias=False, bos_token_id=1, eos_token_id=2)

CASES = {
    "f32-gqa": dict(),
    "tied-bf16": dict(tie_word_embeddings=True, dtype="bfloat16"),
    "odd-widths-f16": dict(hidden_size=80, intermediate_size=144, num_attention_heads=5, num_key_value_heads=1, dtype="float16"),
    "head-dim-24": dict(hidden_size=72, head_dim=24, num_attention_heads=4, num_key_value_heads=4, intermediate_size=100),
    "biases": dict(attention_bias=True, mlp_bias=True),
    "theta-linear": dict(rope_theta=500000.0, rope_scaling=dict(rope_type="linear", factor=4.0)),
    "llama3": dict(rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)),
    "yarn": dict(rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)),
    "sharded": dict(num_hidden_layers=3, shards=3),
    "gelu": dict(hidden_act="gelu_pytorch_tanh"),
}
GGUF_CASES = {"gguf-f32": "F32", "gguf-f16": "F16", "gguf-q8_0": "Q8_0", "gguf-q4_0": "Q4_0", "gguf-q4_1": "Q4_1"}


def make_model(settings):
    settings = dict(BASE, **settings)
    theta, scaling = settings.pop("rope_theta", 10000.0), settings.pop("rope_scaling", None)
    settings["rope_parameters"] = dict(scaling or dict(rope_type="default"), rope_theta=theta)
    config = LlamaConfig(**settings)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1 and "norm" in name:
                weight.copy_(1 + 0.1 * torch.randn_like(weight))
            else:
                weight.copy_(0.15 * torch.randn_like(weight))
        if settings["tie_word_embeddings"]:
            model.tie_weights()
    return model, config, theta, scaling


def judge(model, prompt, count=12):
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0].float()
        ids = list(prompt)
        for _ in range(count):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return [[round(float(v), 6) for v in row] for row in logits], ids[len(prompt):]


def write_golden(folder, source, model, prompt, tolerance):
    logits, greedy = judge(model, prompt)
    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump({"source": source, "prompt": prompt, "logits": logits, "greedy": greedy, "tolerance": tolerance}, file, separators=(",", ":"))


def config_json(config, theta, scaling, dtype, new_style):
    keys = ("vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads max_position_embeddings rms_norm_eps hidden_act tie_word_embeddings "
            "attention_bias mlp_bias bos_token_id eos_token_id head_dim").split()
    out = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": dtype}
    out.update({k: getattr(config, k) for k in keys})
    if new_style:
        out["rope_parameters"] = dict(scaling or dict(rope_type="default"), rope_theta=theta)
    else:
        out["rope_theta"] = theta
        out["rope_scaling"] = None if scaling is None else {("type" if scaling["rope_type"] == "linear" and k == "rope_type" else k): v for k, v in scaling.items()}
    return out


def write_hf(out, name, settings):
    settings = dict(settings)
    dtype, shards = settings.pop("dtype", "float32"), settings.pop("shards", 1)
    model, config, theta, scaling = make_model(settings)
    for weight in model.parameters():  # judged with the values that the file holds
        weight.data = weight.data.to(getattr(torch, dtype)).float()
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config_json(config, theta, scaling, dtype, new_style=name in ("yarn", "gelu")), file, indent=1)
    state = {k: v.to(getattr(torch, dtype)).contiguous() for k, v in model.state_dict().items() if not (k == "lm_head.weight" and config.tie_word_embeddings)}
    if shards == 1:
        save_file(state, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    else:
        names, where = sorted(state), {}
        for s in range(shards):
            file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
            part = {k: state[k] for k in names[s::shards]}
            save_file(part, os.path.join(folder, file), metadata={"format": "pt"})
            where.update({k: file for k in part})
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
            json.dump({"metadata": {"total_size": 0}, "weight_map": where}, file)
    write_golden(folder, ".", model, [3, 17, 250, 99, 4, 4, 120, 7, 33, 201, 8], 1e-3)


def permute(weight, heads):
    """What convert_hf_to_gguf does to attn_q and attn_k."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(out, name, kind):
    model, config, _, _ = make_model(dict(rope_scaling=None))
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    writer = gguf.GGUFWriter(os.path.join(folder, "model.gguf"), "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    # As llama3 scaling arrives: the inverse frequencies are divided by these.
    factors = np.linspace(1, 4, config.head_dim // 2, dtype=np.float32)
    writer.add_tensor("rope_freqs.weight", factors)
    model.model.rotary_emb.inv_freq.data /= torch.from_numpy(factors)
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    parts = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    quantization = gguf.GGMLQuantizationType[kind]
    for key, weight in model.state_dict().items():
        if key in names:
            target = names[key]
        else:
            layer, part = key.split(".")[2], ".".join(key.split(".")[3:-1])
            target = f"blk.{layer}.{parts[part]}.weight"
        values = weight.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(target, values)
            continue
        heads = config.num_attention_heads if "attn_q." in target else config.num_key_value_heads if "attn_k." in target else 0
        rows = permute(values, heads) if heads else values
        packed = gguf.quants.quantize(np.ascontiguousarray(rows), quantization)
        exact = gguf.quants.dequantize(packed, quantization)
        writer.add_tensor(target, packed, raw_dtype=quantization)
        if heads:  # and back
            exact = exact.reshape(heads, exact.shape[0] // heads // 2, 2, *exact.shape[1:]).swapaxes(1, 2).reshape(exact.shape)
        weight.copy_(torch.from_numpy(np.ascontiguousarray(exact)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_golden(folder, "model.gguf", model, [3, 17, 250, 99, 4, 4, 120, 7, 33, 201, 8], 1e-3)


def main():
    out = sys.argv[1]
    torch.manual_seed(7)
    for name, settings in CASES.items():
        write_hf(out, name, settings)
    for name, kind in GGUF_CASES.items():
        write_gguf(out, name, kind)


if __name__ == "__main__":
    main()
