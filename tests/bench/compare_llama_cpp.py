#!/usr/bin/env python3
"""Leafcutter beside llama.cpp on the same shape: alternating runs, medians, ranges, ratios pair by pair, bytes counted on both sides.
A pair of runs during which others took more than a third of a core is dropped and counted.

usage: compare_llama_cpp.py --leafcutter build/leafcutter --llama-bench PEER/llama-bench MODEL.leaf MODEL.gguf [--rounds 5] [--threads 2] [--prompt 512] [--tokens 64]

Prints a table and, last, one JSON line. The peer is any llama-bench; its Q4_0 and Q8_0 files of the same shapes are made by make_gguf.py.
"""
import argparse
import json
import statistics

from measure import MOST_OTHERS, Run, spread


def ours(options):
    command = [options.leafcutter, "bench", options.leaf, "--json", "-r", "1", "--threads", str(options.threads), "-p", str(options.prompt), "-n", str(options.tokens)]
    run = Run(command)
    return run.last_json(), run.others


def theirs(options):
    command = [options.llama_bench, "-m", options.gguf, "-t", str(options.threads), "-p", str(options.prompt), "-n", str(options.tokens), "-r", "1", "-o", "jsonl"]
    run = Run(command)
    found = {}
    for row in (json.loads(line) for line in run.out.splitlines() if line.startswith("{")):
        found["prefill_tok_s" if row["n_prompt"] else "decode_tok_s"] = statistics.median(row["samples_ts"])
        found["model_size"] = row["model_size"]
    return found, run.others


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("leaf")
    parser.add_argument("gguf")
    parser.add_argument("--leafcutter", default="build/leafcutter")
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    mine, peer, dropped = [], [], 0
    while len(mine) < options.rounds:
        (a, busy_a), (b, busy_b) = ours(options), theirs(options)
        if max(busy_a, busy_b) > MOST_OTHERS and dropped < 3 * options.rounds:
            dropped += 1
            continue
        mine.append(a)
        peer.append(b)
    result = {"leaf": options.leaf, "gguf": options.gguf, "rounds": options.rounds, "threads": options.threads, "dropped": dropped, "isa": mine[0]["isa"],
              "leaf_step_bytes": mine[0]["step_bytes"], "gguf_model_bytes": peer[0]["model_size"]}
    for name in ("prefill_tok_s", "decode_tok_s"):
        a, b = [m[name] for m in mine], [p[name] for p in peer]
        ratio = [x / y for x, y in zip(a, b)]
        print(f"{name:15} ours {spread(a)}   llama.cpp {spread(b)}   ratio {spread(ratio)}")
        result[name] = {"ours": statistics.median(a), "peer": statistics.median(b), "ratio": statistics.median(ratio), "ratio_min": min(ratio), "ratio_max": max(ratio)}
    share = [m["decode_share_of_probe"] for m in mine]
    print(f"decode reads {spread([m['decode_gb_s'] for m in mine])} GB/s, the read probe {spread([m['probe_gb_s'] for m in mine])} GB/s: {spread([100 * s for s in share])} %")
    result["decode_share_of_probe"] = statistics.median(share)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
