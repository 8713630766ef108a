#!/usr/bin/env python3
"""Perplexity of a CPM-Live checkpoint, as `leafcutter eval` defines it: the reference for the f32 file.

usage: evaluate.py CHECKPOINT.pt CONFIG.json IDS_FILE [WINDOW]

IDS_FILE: decimal ids. Consecutive windows of WINDOW ids (128), each behind the prompt slots of task 2; every id is a target (sees the slots and what lies before it); an
incomplete last window is dropped; ids WINDOW/2+1 .. WINDOW-1 of each are scored. Stored fp16 weights, fp32 arithmetic. Prints one JSON line.
"""
import json
import math
import sys

import torch
import torch.nn.functional as F

from ant import from_live


def main():
    checkpoint, config, ids_file = sys.argv[1:4]
    window = int(sys.argv[4]) if len(sys.argv) > 4 else 128
    with open(config) as file:
        model = from_live(torch.load(checkpoint, map_location="cpu", weights_only=True), json.load(file)).eval()
    with open(ids_file) as file:
        ids = torch.tensor([int(word) for word in file.read().split()])
    total, count, scored = 0.0, 0, torch.arange(window // 2, window - 1)
    with torch.no_grad():
        for start in range(0, len(ids) - window + 1, window):
            part = ids[start:start + window]
            hidden = model(part[None], torch.zeros(1, dtype=torch.long))[0]
            total += F.cross_entropy(model.logits(hidden[scored]), part[scored + 1], reduction="sum").item()
            count += len(scored)
    print(json.dumps({"perplexity": math.exp(total / count), "mean_nll": total / count, "tokens": count, "window": window}))


if __name__ == "__main__":
    main()
