#!/usr/bin/env python3
"""Decodes a GGUF file in memory with ik_llama.cpp (PyPI package ik-llama-cpp-python), to measure beside `leafcutter bench`.

usage: peer_ik_llama.py FILE.gguf [--tokens N] [--prompt N] [--threads N]

Prints one JSON line: tokens/s by the median of the tokens, tokens/s of the prompt, the process's peak in MB.
"""
import argparse
import json
import resource
import statistics
import time

from ik_llama_cpp import _ctypes_api as api
from ik_llama_cpp._internals import IkContext, IkModel, make_batch_range


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    model = IkModel(options.file)
    context = IkContext(model, n_ctx=options.prompt + options.tokens, n_threads=options.threads)

    def decode(ids, at):
        batch = make_batch_range(ids, pos_start=at)
        begin = time.monotonic()
        status = api.llama_decode(context.ctx, batch)
        if status != 0:
            raise SystemExit(f"llama_decode: {status}")
        # What it computes is not waited for before it is asked for.
        api.llama_get_logits_ith(context.ctx, len(ids) - 1)
        return time.monotonic() - begin

    prompt = decode([300 + i for i in range(options.prompt)], 0)
    times = [decode([600 + i], options.prompt + i) for i in range(options.tokens)]
    print(json.dumps({"tok_s": 1 / statistics.median(times), "prompt_tok_s": options.prompt / prompt, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))


if __name__ == "__main__":
    main()
