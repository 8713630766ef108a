#!/usr/bin/env python3
"""Trains a small CPM-Ant on a CPU and writes it as CPM-Live does.

usage: train.py PREFIX OUT_FOLDER [--name cpm-ant-tiny] [--layers 10] [--dim 256] [--heads 4] [--dim-head 64] [--ff 640] [--minutes 60] ...

PREFIX: what vocabulary.py made. Writes NAME.pt (fp16 state dict), NAME.json, vocab.txt and log.jsonl. Half of the sequences begin with a context of random length, which has no
loss. The learning rate falls along a cosine over --minutes; the loss on held-out text and the checkpoint are written every 400 steps.
"""
import argparse
import json
import math
import os
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F

from ant import Ant, to_live


def flags():
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("out")
    parser.add_argument("--name", default="cpm-ant-tiny")
    for name, value in (("layers", 10), ("dim", 256), ("heads", 4), ("dim-head", 64), ("ff", 640), ("length", 224), ("batch", 8), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    return parser.parse_args()


def loss_of(model, ids, context):
    hidden, target = model(ids[:, :-1], context), ids[:, 1:]
    free = torch.arange(target.shape[1])[None] >= context[:, None] - 1  # the last slot of the context predicts the first free id
    return F.cross_entropy(model.logits(hidden[free]), target[free])


def held_out_loss(model, ids, length):
    starts = range(0, min(len(ids) - length - 1, 24 * length), length)
    rows = torch.stack([ids[i:i + length + 1] for i in starts])
    with torch.no_grad():
        losses = [loss_of(model, part, torch.zeros(len(part), dtype=torch.long)).item() * len(part) for part in rows.split(8)]
    return sum(losses) / len(rows)


def main():
    f = flags()
    torch.manual_seed(1)
    torch.set_num_threads(f.threads)
    os.makedirs(f.out, exist_ok=True)
    shutil.copy(f"{f.prefix}.vocab.txt", os.path.join(f.out, "vocab.txt"))
    with open(f"{f.prefix}.vocab.txt", encoding="utf-8") as file:
        vocab_size = len(file.read().split("\n"))
    config = {"vocab_size": vocab_size, "dropout_p": 0.0, "eps": 1e-6, "half": True, "mask_modules": None, "dim_model": f.dim, "dim_ff": f.ff, "num_layers": f.layers,
              "num_heads": f.heads, "dim_head": f.dim_head, "position_bias_num_buckets": 512, "position_bias_max_distance": 2048, "prompt_types": 32, "prompt_length": 32,
              "segment_types": 32}
    with open(os.path.join(f.out, f"{f.name}.json"), "w") as file:
        json.dump(config, file, indent=1)
    train, valid = (torch.from_numpy(np.load(f"{f.prefix}.{kind}.npy").astype(np.int64)) for kind in ("train", "valid"))
    model = Ant(config)
    print(sum(p.numel() for p in model.parameters()), "parameters")
    matrices, vectors = ([p for p in model.parameters() if (p.dim() == 2) == two] for two in (True, False))
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0}], lr=f.rate, betas=(0.9, 0.98))
    begin, step, smooth, done = time.time(), 0, None, 0.0
    with open(os.path.join(f.out, "log.jsonl"), "w") as log:
        while done < 1:
            done = (time.time() - begin) / 60 / f.minutes
            for group in optimizer.param_groups:
                group["lr"] = f.rate * min(1, (step + 1) / 100) * (0.05 + 0.475 * (1 + math.cos(math.pi * min(1, done))))
            ids = torch.stack([train[i:i + f.length + 1] for i in torch.randint(0, len(train) - f.length - 1, (f.batch,))])
            context = torch.randint(0, f.length // 2, (f.batch,)) * (torch.rand(f.batch) < 0.5)
            loss = loss_of(model, ids, context)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
            step += 1
            if step % 400 == 0 or done >= 1:
                print(json.dumps({"step": step, "minutes": round((time.time() - begin) / 60, 1), "train": round(smooth, 3), "valid": round(held_out_loss(model, valid, f.length), 3)}),
                      file=log, flush=True)
                path = os.path.join(f.out, f"{f.name}.pt")
                torch.save(to_live(model), path + ".new")
                os.replace(path + ".new", path)


if __name__ == "__main__":
    main()
