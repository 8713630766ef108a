#!/usr/bin/env python3
"""What `plan` predicts beside what `run` does: tokens a second, time to the first token, peak of memory.

usage: predictions.py LEAFCUTTER FOLDER [--real] [--repeats N] [--quick] [--rates MB_S MB_S MB_S] [--shapes NAME ...]

Makes random models of several shapes in FOLDER (some GB, removed at the end), and for each combination of shape, format, budget, link and context asks `plan` first and `run` then. Without --real the
disk is throttled (--link disk=RATE), so that its rate is known: a run beside which the disk itself was found slower than 1.1 times that rate is dropped and counted. With --real it is the disk under FOLDER,
measured before and after each run, and a pair of measurements that differ by more than 8 % is dropped and counted; of the --repeats runs of a combination the median counts. Prints a JSON line a combination and ends with the medians and the worst; exit status 1 when they miss the bounds.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

MIB = 1 << 20
a = argparse.ArgumentParser()
a.add_argument("program")
a.add_argument("folder")
a.add_argument("--real", action="store_true")
a.add_argument("--repeats", type=int, default=3, help="with --real: runs of a combination, each between two measurements")
a.add_argument("--quick", action="store_true", help="every fourth combination")
a.add_argument("--rates", nargs=3, type=int, default=[300, 900, 1500], metavar="MB_S", help="of the throttled disk, slowest first")
a.add_argument("--shapes", nargs="*", default=["cpm-ant-300m", "cpm-ant-1b", "llama-1.1b", "cpm-ant-3b", "cpm-ant-7b", "llama-48x4096", "cpm-ant-10b"])
a = a.parse_args()
LINKS = [(None, 512, 128), (None, 256, 16)] if a.real else list(zip(a.rates, (256, 512, 256), (128, 16, 64)))  # MB/s, context, prompt
LARGE = 2 << 30  # files from here on are not read through the slowest link: a token takes ten seconds there
DECODE_SECONDS, FEWEST, SLOTS = 2.5, 6, 32
BOUNDS = dict(median=0.08, worst=0.20) if a.real else dict(median=0.04, worst=0.12)
os.environ["LEAFCUTTER_CACHE"] = os.path.join(a.folder, "cache")


os.makedirs(a.folder, exist_ok=True)


def call(*arguments):
    done = subprocess.run([a.program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()
    return json.loads(done.stdout.splitlines()[-1]), ""


def combinations():
    for shape in a.shapes:
        for form in ("q4", "q8"):
            path = os.path.join(a.folder, f"{shape}.{form}.leaf")
            subprocess.run([a.program, "synth", shape, "--format", form, "-o", path], check=True, capture_output=True)
            size = os.path.getsize(path)
            for share in (0.35, 0.6, 0.9):
                for rate, context, prompt in LINKS:
                    if size > LARGE and not a.real and rate == a.rates[0]:
                        continue
                    yield path, shape, form, int(size * share) + 90 * MIB, rate, context, prompt
            os.remove(path)


rows, dropped, refused = [], 0, 0
for number, (path, shape, form, memory, rate, context, prompt) in enumerate(combinations()):
    if a.quick and number % 4:
        continue
    # Measured anew each time: the machine's memory has moods of minutes.
    common = ["--memory", memory, "--ctx-size", context, "--json"] + (["--link", f"disk={rate}MB"] if rate else [])
    first, problem = call("plan", path, "-p", prompt, "-n", 8, *common)
    if first is None:
        refused += 1
        print(json.dumps({"shape": shape, "format": form, "memory": memory, "refused": problem}), flush=True)
        continue
    ids = ",".join(str(3 + i * 37 % 900) for i in range(prompt))
    tokens = max(FEWEST, min(round(DECODE_SECONDS * first["tokens_per_s"]), context - prompt - SLOTS))
    plan_arguments = ["plan", path, "-p", prompt, "-n", tokens, *common, "--measure"]
    plan, problem = call(*plan_arguments)
    pairs = []
    for _ in range(a.repeats if a.real else 1):
        run, problem = call("run", path, "--ids", ids, "-n", tokens, "--temp", 0, "--ignore-eos", "--lookup", "off", *common)
        if run is None:
            sys.exit(f"run failed where plan did not: {problem}")
        if not a.real:
            break
        after, _ = call(*plan_arguments)
        if abs(after["rates"]["disk_gb_s"] / plan["rates"]["disk_gb_s"] - 1) > 0.08:
            dropped += 1
        else:
            between = dict(plan, tokens_per_s=(plan["tokens_per_s"] + after["tokens_per_s"]) / 2)
            pairs.append((between["tokens_per_s"] / run["tokens_per_s"], between, run))
        plan = after
    if a.real:
        if not pairs:
            continue
        _, plan, run = sorted(pairs, key=lambda pair: pair[0])[len(pairs) // 2]
    if not a.real and plan["limit"] == "disk":
        free, _ = call("plan", path, "-p", prompt, "-n", tokens, "--memory", memory, "--ctx-size", context, "--json", "--measure")
        if free["rates"]["disk_gb_s"] < 1.1 * rate / 1000:
            dropped += 1
            continue
    row = {
        "shape": shape, "format": form, "memory_mib": round(memory / MIB), "disk_mb_s": rate or round(plan["rates"]["disk_gb_s"] * 1000), "context": context, "prompt": prompt, "tokens": tokens, "limit": plan["limit"],
        "predicted_tok_s": round(plan["tokens_per_s"], 3), "measured_tok_s": round(run["tokens_per_s"], 3), "error": round(plan["tokens_per_s"] / run["tokens_per_s"] - 1, 4),
        "predicted_prefill_s": round(plan["prefill"]["seconds"], 3), "measured_prefill_s": round(run["prefill_s"], 3),
        "peak_error": round(plan["peak"]["host"] / run["memory"]["peak"] - 1, 4), "peak_over_budget": run["memory"]["peak"] > memory,
    }
    rows.append(row)
    print(json.dumps(row), flush=True)

if not rows:
    sys.exit("nothing was measured")
errors = [abs(r["error"]) for r in rows]
prefill = [abs(r["predicted_prefill_s"] / r["measured_prefill_s"] - 1) for r in rows]
summary = {"combinations": len(rows), "dropped": dropped, "refused": refused, "median_error": statistics.median(errors), "worst_error": max(errors), "median_prefill_error": statistics.median(prefill),
           "worst_prefill_error": max(prefill), "worst_peak_error": max(abs(r["peak_error"]) for r in rows), "over_budget": sum(r["peak_over_budget"] for r in rows)}
print(json.dumps(summary))
sys.exit(0 if summary["median_error"] <= BOUNDS["median"] and summary["worst_error"] <= BOUNDS["worst"] and summary["over_budget"] == 0 else 1)
