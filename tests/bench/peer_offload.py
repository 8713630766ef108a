#!/usr/bin/env python3
"""Decodes with a Hugging Face checkpoint whose weights stay on disk, by a peer's own offloading; packages torch, accelerate, transformers or airllm, on the processor.

usage: peer_offload.py accelerate|airllm CHECKPOINT [--tokens N] [--memory BYTES] [--threads N]

Prints one JSON line: tokens/s of the tokens after the first, the first token's time and the process's peak. --memory: what weights may take (accelerate); the rest is offloaded.
"""
import argparse
import json
import pathlib
import resource
import tempfile
import time


def accelerate_model(options):
    import torch
    from accelerate import init_empty_weights, load_checkpoint_and_dispatch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(options.checkpoint)
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.float32 if options.f32 else torch.bfloat16)
    folder = tempfile.mkdtemp(dir=pathlib.Path(options.checkpoint).parent)
    return load_checkpoint_and_dispatch(model, options.checkpoint, device_map="auto", max_memory={"cpu": options.memory}, offload_folder=folder,
                                        no_split_module_classes=["LlamaDecoderLayer"], dtype=torch.float32 if options.f32 else torch.bfloat16)


def airllm_model(options):
    from airllm import AutoModel
    return AutoModel.from_pretrained(options.checkpoint, device="cpu")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=("accelerate", "airllm"))
    parser.add_argument("checkpoint")
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--memory", type=int, default=1 << 30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--f32", action="store_true")
    options = parser.parse_args()
    import torch
    torch.set_num_threads(options.threads)
    model = {"accelerate": accelerate_model, "airllm": airllm_model}[options.peer](options)
    ids = torch.tensor([[1, 300, 301, 302, 303, 304, 305, 306]])
    times = []
    with torch.inference_mode():
        past = None
        for _ in range(options.tokens + 1):
            begin = time.monotonic()
            out = model(input_ids=ids, past_key_values=past, use_cache=True)
            past = out.past_key_values
            ids = out.logits[:, -1:].argmax(-1)
            times.append(time.monotonic() - begin)
    print(json.dumps({"first_token_s": times[0], "tok_s": options.tokens / sum(times[1:]), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))


if __name__ == "__main__":
    main()
