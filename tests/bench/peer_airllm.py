#!/usr/bin/env python3
"""Decodes with a Hugging Face checkpoint of a LLaMA type that AirLLM reads from disk a layer at a time, on the processor. Packages airllm, torch and transformers.

usage: peer_airllm.py CHECKPOINT [--tokens N] [--threads N]

AirLLM first writes each layer into a file of its own beside the checkpoint (removed at the end), and wants a tokenizer, for which one is made that knows ids alone; neither is timed.
Prints one JSON line: seconds of a first step of 8 ids, tokens/s of the steps after it, the process's peak in MB.
"""
import argparse
import json
import pathlib
import resource
import tempfile
import time

import torch
from airllm import AutoModel
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.generation.streamers import BaseStreamer


class Clock(BaseStreamer):
    """When each token came."""

    def __init__(self):
        self.times = []

    def put(self, value):
        self.times.append(time.monotonic())

    def end(self):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vocabulary = json.loads((options.checkpoint / "config.json").read_text())["vocab_size"]
    words = Tokenizer(models.WordLevel({str(i): i for i in range(vocabulary)}, unk_token="0"))
    with tempfile.TemporaryDirectory(dir=options.checkpoint.resolve().parent) as folder:
        folder = pathlib.Path(folder)
        model_folder = folder / "model"
        model_folder.mkdir()
        for file in options.checkpoint.iterdir():
            (model_folder / file.name).symlink_to(file.resolve())
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="0", eos_token="0").save_pretrained(model_folder)
        model = AutoModel.from_pretrained(str(model_folder), device="cpu", layer_shards_saving_path=str(folder / "layers"))
        clock, begin = Clock(), time.monotonic()
        with torch.inference_mode():
            model.generate(torch.arange(300, 308)[None], min_new_tokens=options.tokens + 1, max_new_tokens=options.tokens + 1, do_sample=False, use_cache=True, streamer=clock)
        times = clock.times[1:]  # the first are the prompt's ids
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"first_step_s": times[0] - begin, "tok_s": (len(times) - 1) / (times[-1] - times[0]), "peak_mb": peak}))


if __name__ == "__main__":
    main()
