#!/usr/bin/env python3
"""What the formats cost the small real CPM-Ant: a table of perplexities.

usage: quality.py LEAFCUTTER [--model PATH] [--ids FILE] [--window 128] [--formats f32,f16,q8,q8row,q4]

Compresses MODEL (tiny/ beside this file) to each format, all of it (embedding and head as the body), and runs `eval` twice: as `run` computes (int8 activations, f16 KV cache)
and for the weights alone (f32 activations and KV cache). IDS: tiny/text.ids, a text of our own, or any file of decimal ids.
The table goes to stdout; changes are relative to the f32 file.
"""
import argparse
import json
import os
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def last_object(command):
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().split("\n")[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("leafcutter")
    parser.add_argument("--model", default=os.path.join(HERE, "tiny"))
    parser.add_argument("--ids", default=os.path.join(HERE, "tiny", "text.ids"))
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--formats", default="f32,f16,q8,q8row,q4")
    flags = parser.parse_args()
    rows, exact = [], None
    with tempfile.TemporaryDirectory() as folder:
        leaf = os.path.join(folder, "model.leaf")
        for name in flags.formats.split(","):
            last_object([flags.leafcutter, "compress", flags.model, "-o", leaf, "--format", name, "--embedding-format", name, "--json"])
            index = last_object([flags.leafcutter, "inspect", leaf, "--json"])
            bits = 8 * index["weight_bytes"] / index["model"]["parameters"]
            score = [flags.leafcutter, "eval", leaf, "--ids-file", flags.ids, "--ctx-size", str(flags.window), "--json"]
            run, weights = last_object(score), last_object(score + ["--activations", "f32", "--kv-type", "f32"])
            exact = exact or weights["perplexity"]
            rows.append((name, bits, weights["perplexity"], run["perplexity"], weights["tokens"]))
    change = lambda value: f"{value:.3f} ({100 * (value / exact - 1):+.3f} %)"
    print(f"{rows[0][4]} tokens scored in windows of {flags.window}\n")
    print("| format | bits a weight in the file | weights alone | as run |")
    print("|---|---:|---:|---:|")
    for name, bits, weights, run, _ in rows:
        print(f"| {name} | {bits:.2f} | {change(weights)} | {change(run)} |")


if __name__ == "__main__":
    main()
