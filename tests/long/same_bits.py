#!/usr/bin/env python3
"""Where weights lie and how they come there never changes an answer: `run --json --logprobs` over a grid of settings beside the resident run, text and numbers compared as text.

usage: same_bits.py LEAFCUTTER REFERENCE_FOLDER [--prompts N] [--settings N] [--models NAME ...] [--leaf FILE] [--seed N]

Random prompts on small reference models and on random weights of real shapes; for each prompt some points of the grid: budget, codec, reads in flight, size of a read, back end, threads, look-up,
context, and for LLaMA the prompt cut behind some of the tokens that were generated. --leaf takes one model as it is, with few prompts unless --prompts says otherwise. Ends with a line a model;
exit status 1 when any token, number or text differs.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
LARGE = 32 * MIB
a = argparse.ArgumentParser()
a.add_argument("program")
a.add_argument("reference")
a.add_argument("--prompts", type=int)
a.add_argument("--settings", type=int, default=3, help="points of the grid for each prompt")
a.add_argument("--models", nargs="*", default=["llama", "cpm-ant", "smollm2-135m", "cpm-ant-300m"])
a.add_argument("--leaf")
a.add_argument("--seed", type=int, default=1)
a = a.parse_args()
PROMPTS = a.prompts or (4 if a.leaf else 100)
REFERENCES = {"llama": (("llama", "f32-gqa"), "f32", 4096), "cpm-ant": (("cpm_ant", "tiny"), "q4", 8192)}  # folder, format, bytes of a chunk
GRID = {
    "budget": [0, 0.1, 0.35, 0.7, 1.5],  # above the least one, in sizes of the file
    "codec": ["none", "zstd"],
    "--io-depth": [1, 2, 16, 64],
    "--io-size": ["4096", "65536", "1MiB", "4MiB"],
    "--io": ["threads", "io_uring"],
    "--threads": [1, 2],
    "--lookup": ["on", "off"],
    "context": [None, 0, 200],  # rows beyond what is needed
    "cut": [0, 0.5],            # of the generated tokens that are given as a prompt
}


def call(*arguments):
    return subprocess.run([a.program, *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def made(*arguments):
    done = call(*arguments)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


class Model:
    def __init__(self, name, files):
        self.name, self.files = name, files
        facts = json.loads(made("inspect", files["none"], "--json").splitlines()[-1])
        description = facts["model"] if isinstance(facts.get("model"), dict) else facts
        self.vocabulary = description["vocab_size"]
        self.ant = description["architecture"] == "cpm-ant"
        self.bytes = os.path.getsize(files["none"])
        self.runs = self.streamed = self.tokens = 0


class Uneven(Exception):
    pass


def run(model, codec, ids, tokens, sampling, budget, *more):
    """The lines of the tokens, the closing object and the command. The budget is what is needed at least, as a refusal says, and a part of the file's size."""
    command = ["run", model.files[codec], "--ids", ",".join(map(str, ids)), "-n", tokens, *sampling, "--ignore-eos", "--json", "--logprobs", 5, *more]
    if budget is None:
        done = call(*command)
    else:
        for slack in (0, 1, 4):  # what is charged differs a little from run to run
            needed = re.search(r"--memory to (\d+)", call(*command, "--memory", MIB).stderr)
            if not needed:
                raise Uneven(f"{' '.join(map(str, command))} --memory {MIB}: is not refused")
            memory = int(needed[1]) + int(budget * model.bytes) + min(MIB // 4, model.bytes // 20) + slack * MIB // 4
            done = call(*command, "--memory", memory)
            if done.returncode == 0 or "--memory to" not in done.stderr:
                break
        command += ["--memory", memory]
    if done.returncode:
        raise Uneven(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    *lines, last = done.stdout.splitlines()
    end = json.loads(last)
    model.runs += 1
    model.tokens += len(lines)
    model.streamed += end["streamed_bytes"] > 0
    return lines, end, command


def random_prompt(rng, model):
    length = rng.choice([1, 2, 3, 7, 16, 17, 33, 60, 120])
    ids = [rng.randrange(model.vocabulary) for _ in range(length)]
    if rng.random() < 0.5:  # text that repeats itself: something to look up
        part = ids[:max(1, length // 4)]
        ids = (part * length)[:length]
    return ids


def index_from_zero(line, first):
    token = json.loads(line)
    return json.dumps({**token, "index": token["index"] - first, "text": ""})


def compare_prompt(rng, model):
    ids, tokens = random_prompt(rng, model), rng.choice([1, 4, 12, 24])
    sampling = ["--temp", 0] if rng.random() < 0.7 else ["--temp", 0.9, "--top-k", 0, "--seed", rng.randrange(1000)]
    want, end, _ = run(model, "none", ids, tokens, sampling, None, "--lookup", "off")
    for _ in range(a.settings):
        point = {axis: rng.choice(values) for axis, values in GRID.items()}
        codec = point["codec"] if point["codec"] in model.files else "none"
        if model.bytes > LARGE and point["--io-size"] == "4096":
            point["--io-size"] = "32768"  # seconds a token otherwise
        flags = [part for axis in GRID if axis.startswith("--") for part in (axis, point[axis])]
        if point["context"] is not None:
            flags += ["--ctx-size", len(ids) + tokens + 64 + point["context"]]
        first = 0 if model.ant or sampling[1] != 0 else int(point["cut"] * tokens)
        got, got_end, command = run(model, codec, ids + end["ids"][:first], tokens - first, sampling, point["budget"], *flags)
        if first:
            same = [index_from_zero(x, first) for x in want[first:]] == [index_from_zero(x, 0) for x in got]
        else:
            same = want == got and end["text"] == got_end["text"] and end["finish_reason"] == got_end["finish_reason"]
        if not same or end["ids"][first:] != got_end["ids"]:
            at = next((i for i, (x, y) in enumerate(zip(want[first:], got)) if index_from_zero(x, first) != index_from_zero(y, 0)), min(len(want) - first, len(got)))
            raise Uneven(f"{' '.join(map(str, command))}\n  token {first + at} differs\n  {(want[first:] + ['nothing'])[at]}\n  {(got + ['nothing'])[at]}")


def make(folder, name):
    files = {}
    for codec in ("none", "zstd"):
        files[codec] = os.path.join(folder, f"{name}.{codec}.leaf")
        if name in REFERENCES:
            source, form, chunk = REFERENCES[name]
            made("compress", os.path.join(a.reference, *source), "-o", files[codec], "--format", form, "--codec", codec, "--chunk-size", chunk)
        else:
            made("synth", name, "--format", "q4", "--codec", codec, "-o", files[codec])
    return Model(name, files)


def main():
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in [a.leaf] if a.leaf else a.models:
            model = Model(os.path.basename(name), {"none": name}) if a.leaf else make(folder, name)
            rng, start = random.Random(f"{a.seed} {model.name}"), time.monotonic()
            for prompt in range(PROMPTS):
                try:
                    compare_prompt(rng, model)
                except Uneven as e:
                    differing += 1
                    print(f"{model.name}, prompt {prompt}: {e}", flush=True)
            print(f"{model.name}: {PROMPTS} prompts, {model.runs} runs ({model.streamed} of them streamed), {model.tokens} tokens, {time.monotonic() - start:.0f} s", flush=True)
            if not a.leaf:
                for file in model.files.values():
                    os.remove(file)
            if model.streamed < model.runs / 4:
                differing += 1
                print(f"{model.name}: too few runs streamed for this to say anything", flush=True)
    print(f"{differing} differing")
    sys.exit(differing > 0)


main()
