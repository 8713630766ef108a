#!/usr/bin/env python3
"""Hours of decoding in little memory: nothing grows and nothing gets slower.

usage: soak.py SOAK_DECODE MODEL --memory SIZE --minutes N [--busy-core]

SOAK_DECODE is the program of soak_decode.cpp. It runs in a memory group whose limit is SIZE where one may be made here, else without. Every 10 s its memory and its tokens a second are noted.
Fails when memory grows by more than 1 % after the first minute, when a limit is passed, or when the last quarter makes less than 90 % of the first quarter's tokens a second. With --busy-core a
process keeps one core busy in the second half, which then has to make at least 45 % of the quiet half's tokens a second.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time

a = argparse.ArgumentParser()
a.add_argument("program")
a.add_argument("model")
a.add_argument("--memory", required=True, help="bytes, or with KiB, MiB, GiB, KB, MB, GB")
a.add_argument("--minutes", type=float, required=True)
a.add_argument("--busy-core", action="store_true")
a.add_argument("--every", type=float, default=10, help="seconds between two looks")
parser, a = a, a.parse_args()
MOST_GROWTH, LEAST_SPEED, LEAST_BUSY_SPEED = 1.01, 0.90, 0.45
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def bytes_of(text):
    found = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]*)", text)
    if not found or found[2].upper() not in UNITS:
        parser.error(f"--memory: {text} is no size")
    return int(float(found[1]) * UNITS[found[2].upper()])


def text_of(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


class MemoryGroup:
    """A group with a limit, version 2 or 1; `path` is None where none may be made."""

    VERSIONS = (("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"), ("/sys/fs/cgroup/unified", "memory.max", "memory.current", "inactive_file"),
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))

    def __init__(self, limit):
        self.path, self.why = None, "no memory groups are mounted"
        for root, limit_name, self.usage, self.cache in self.VERSIONS:
            path = os.path.join(root, f"leafcutter-soak-{os.getpid()}")
            if not os.path.exists(os.path.join(root, "cgroup.procs")):  # a folder there would be a folder and no group
                continue
            try:
                os.mkdir(path)
            except OSError as e:
                self.why = str(e)
                continue
            try:
                with open(os.path.join(path, limit_name), "r+", encoding="ascii") as file:
                    file.write(str(limit))
                self.path = path
                return
            except OSError as e:
                self.why = str(e)
                os.rmdir(path)

    def enter(self):
        if self.path:
            with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(str(os.getpid()))

    def charged(self):
        """What cannot be given back; None where there is no group."""
        if not self.path:
            return None
        cache = re.search(rf"^{self.cache} (\d+)", text_of(os.path.join(self.path, "memory.stat")), re.M)
        return int(text_of(os.path.join(self.path, self.usage)) or 0) - int(cache[1] if cache else 0)

    def remove(self):
        if self.path:
            os.rmdir(self.path)


def resident(pid):
    found = re.search(r"VmRSS:\s+(\d+) kB", text_of(f"/proc/{pid}/status"))
    return int(found[1]) << 10 if found else 0


class Tokens:
    """What the program printed last: seconds and tokens since it began to decode."""

    def __init__(self, stream):
        self.seen = [(0.0, 0)]
        self.reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.reader.start()

    def _read(self, stream):
        for line in stream:
            seconds, tokens = line.split()
            self.seen.append((float(seconds), int(tokens)))

    def speed(self, begin, end):
        """Tokens a second between two times."""
        part = [x for x in self.seen if begin <= x[0] <= end]
        return (part[-1][1] - part[0][1]) / (part[-1][0] - part[0][0]) if len(part) > 1 else 0.0


def main():
    limit, seconds = bytes_of(a.memory), a.minutes * 60
    group = MemoryGroup(limit)
    print(f"memory group with a limit of {limit} bytes" if group.path else f"without a memory group ({group.why})", flush=True)
    process = subprocess.Popen([a.program, a.model, str(limit), str(seconds)], stdout=subprocess.PIPE, text=True, preexec_fn=group.enter)
    busy, samples = None, []
    try:
        tokens = Tokens(process.stdout)
        while process.poll() is None and len(tokens.seen) < 2:
            time.sleep(0.1)
        start = time.monotonic()
        while process.poll() is None and (now := time.monotonic() - start) < seconds - 1:
            if a.busy_core and busy is None and now >= seconds / 2:
                busy = subprocess.Popen([sys.executable, "-c", "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"])
            memory = group.charged() or resident(process.pid)
            at = tokens.seen[-1][0]
            samples.append((at, memory))
            print(json.dumps({"seconds": round(at), "memory": memory, "rss": resident(process.pid), "tokens_per_s": round(tokens.speed(at - a.every, at), 3)}), flush=True)
            time.sleep(max(0.1, min(a.every, seconds - 1 - now)))
        status = process.wait(120)
        tokens.reader.join()
    finally:
        process.kill()
        process.wait()
        if busy:
            busy.kill()
            busy.wait()
        group.remove()
    settled = [memory for at, memory in samples if at >= min(60, seconds / 3)]
    growth = max(settled) / settled[0] if settled else float("inf")
    first, last = ((0, seconds / 2), (seconds / 2 + 2, seconds)) if a.busy_core else ((0, seconds / 4), (seconds * 3 / 4, seconds))
    speeds = tokens.speed(*first), tokens.speed(*last)
    ratio, least = speeds[1] / speeds[0] if speeds[0] else 0.0, LEAST_BUSY_SPEED if a.busy_core else LEAST_SPEED
    print(json.dumps({"tokens": tokens.seen[-1][1], "growth": round(growth, 4), "first_tokens_per_s": round(speeds[0], 3), "last_tokens_per_s": round(speeds[1], 3),
                      "ratio": round(ratio, 3), "busy_core": a.busy_core, "status": status}))
    sys.exit(status != 0 or growth > MOST_GROWTH or ratio < least)


main()
