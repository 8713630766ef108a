#!/usr/bin/env python3
"""tidy.py BUILD_FOLDER: clang-tidy (the list and its reasons are in .clang-tidy) over every source file of the library and the tools; warnings are errors.

Files that the folder compiles at once (LEAFCUTTER_UNITY) are read at once, as one text, since most of the time goes into what they include. They are joined rather than included: the analyzer and some of the checks look
at nothing but the main file. A file in which something is found that way is read again by itself, and what is found then is what counts.

The analyzer follows at most a fifth of the paths through a function that it would by itself, for a third of the time; TIDY_NODES=225000 in the environment is its own measure.
"""
import concurrent.futures
import json
import os
import re
import subprocess
import sys

TARGETS = re.compile(r" -o \S*/leafcutter(_(base|kernels|quant|compress|offload|runtime|tools))?\.dir/")
INCLUDE = re.compile(r'#include "(.*\.cpp)"')


def joined(unity, to):
    """Writes the files that `unity` includes into `to`; returns (first line, file) of each."""
    starts, lines = [], []
    with open(unity) as file:
        names = [match[1] for match in map(INCLUDE.match, file) if match]
    for name in names:
        with open(name) as file:
            starts.append((len(lines) + 1, name))
            lines += file.read().splitlines()
    with open(to, "w") as file:
        file.write("\n".join(lines) + "\n")
    return starts


def tidy(folder, name):
    """Status and findings of one text."""
    analyzer = ["-Xclang", "-analyzer-config", "-Xclang", f"max-nodes={os.environ.get('TIDY_NODES', '40000')}"]
    done = subprocess.run(["clang-tidy-14", "-p", folder, "--quiet", "--warnings-as-errors=*", *(f"--extra-arg={a}" for a in analyzer), name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.returncode, [line for line in done.stdout.splitlines() if re.search("warning|error", line)]


def main():
    build = os.path.abspath(sys.argv[1])
    folder = os.path.join(build, "tidy")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(build, "compile_commands.json")) as file:
        database = json.load(file)
    jobs, alone = {}, []  # what clang-tidy reads: the files that its lines come from
    for command in database:
        name = command["file"]
        if not TARGETS.search(command["command"]) or name.endswith(".S"):
            continue
        if "/Unity/" in name:
            text = os.path.join(folder, os.path.relpath(name, build).replace("/", "_") + ".cpp")
            jobs[text] = joined(name, text)
            alone += [dict(command, file=file, command=command["command"].replace(name, file)) for _, file in jobs[text]]
            command["file"], command["command"] = text, command["command"].replace(name, text)
        else:
            jobs[name] = [(1, name)]
    with open(os.path.join(folder, "compile_commands.json"), "w") as file:
        json.dump(database + alone, file)

    def check(job):
        text, starts = job
        status, found = tidy(folder, text)
        if status == 0 or len(starts) == 1:
            return status, found
        lines = [int(match[1]) for match in (re.match(re.escape(text) + r":(\d+):", line) for line in found) if match]
        files = {[file for start, file in starts if start <= line][-1] for line in lines}
        again = [tidy(folder, file) for file in sorted(files) or [file for _, file in starts]]
        return any(status for status, _ in again), [line for _, found in again for line in found]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, sorted(jobs.items(), key=lambda job: -len(job[1]))))
    for line in [line for _, found in results for line in found][:40]:
        print(line)
    print(f"clang-tidy: {sum(len(starts) for starts in jobs.values())} files")
    return any(status for status, _ in results)


if __name__ == "__main__":
    sys.exit(main())
