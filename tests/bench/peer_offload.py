#!/usr/bin/env python3
"""Decodes with a Hugging Face checkpoint of a LLaMA type that accelerate keeps on disk as far as --memory has no room, on the processor. Packages torch, accelerate and transformers.

usage: peer_offload.py CHECKPOINT [--tokens N] [--memory BYTES] [--threads N]

--memory: what weights may take. They are computed in bf16; what is offloaded is written beside the checkpoint and removed at the end.
Prints one JSON line: seconds of a first step of 8 ids, tokens/s of the steps after it, the process's peak in MB.
"""
import argparse
import json
import pathlib
import resource
import tempfile
import time

import torch
from accelerate import init_empty_weights, load_checkpoint_and_dispatch
from transformers import AutoConfig, AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--memory", type=int, default=1 << 30)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(options.checkpoint), torch_dtype=torch.bfloat16)
    with tempfile.TemporaryDirectory(dir=options.checkpoint.resolve().parent) as folder, torch.inference_mode():
        model = load_checkpoint_and_dispatch(model, options.checkpoint, device_map="auto", max_memory={"cpu": options.memory}, offload_folder=folder,
                                             no_split_module_classes=["LlamaDecoderLayer"], dtype=torch.bfloat16)
        ids, past, times = torch.arange(300, 308)[None], None, []
        for _ in range(options.tokens + 1):
            begin = time.monotonic()
            out = model(input_ids=ids, past_key_values=past, use_cache=True)
            past, ids = out.past_key_values, out.logits[:, -1:].argmax(-1)
            times.append(time.monotonic() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"first_step_s": times[0], "tok_s": options.tokens / sum(times[1:]), "peak_mb": peak}))


if __name__ == "__main__":
    main()
