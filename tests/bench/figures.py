#!/usr/bin/env python3
"""The figures of docs/benchmarks.md that have no peer: each contender beside the machine's own ceiling, alternating in the same minutes. Standard library only.

usage: figures.py BUILD stream MODEL.leaf [--share 0.5] [--rounds 3]      decode with a share of the weights streamed, beside machine_probe stream
       figures.py BUILD limited MODEL.leaf --memory 3GiB [--memory 1.5GiB] [--prompt 128] [--peer LLAMA_BENCH --gguf F] [--rounds 3]   in memory groups of exactly that
       figures.py BUILD load MODEL.leaf [--idle 0] [--rounds 5]           loading from a cold cache, beside direct reads and first touch, on memory that was just in use, or lay free for so many seconds
       figures.py BUILD first MODEL.leaf [--rounds 5]                     a cold start to the first token
       figures.py BUILD compress CHECKPOINT [--format q4] [--rounds 3]    rate, memory and cores, beside direct reads and writes
       figures.py BUILD shared MODEL.leaf [--peer LLAMA_BENCH --gguf F] [--rounds 3]   decode while another process keeps one core busy
       figures.py BUILD plan MODEL.leaf [--memory SIZE ...]               what `plan` predicts beside what `bench` measures

BUILD: a build folder made with -DLEAFCUTTER_BENCH=ON. A run during which others took more than a third of a core is dropped and counted.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from measure import MOST_OTHERS, Run, spread


class Bench:
    def __init__(self, options):
        self.options, self.dropped = options, 0
        self.leafcutter = os.path.join(options.build, "leafcutter")
        self.probe_path = os.path.join(options.build, "tests/bench/machine_probe")

    def run(self, *command, watched=True):
        """A run while the machine is ours: tried again when it was not."""
        for _ in range(4):
            run = Run([str(part) for part in command])
            if not watched or run.others <= MOST_OTHERS:
                return run
            self.dropped += 1
        raise SystemExit("others keep the machine busy")

    def probe(self, *words):
        return [json.loads(line) for line in self.run(self.probe_path, *words).out.splitlines()]

    def bench(self, *words, watched=True):
        return self.run(self.leafcutter, "bench", self.options.file, "--json", *words, watched=watched).last_json()


def drop_caches():
    subprocess.run(["sync"], check=True)
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    except PermissionError:
        print("not root: the page cache stays; leafcutter reads the weights past it", file=sys.stderr)


def account(facts, name):
    return sum(entry["bytes"] for entry in facts["accounts"] if entry["name"] == name)


def stream(b, options):
    whole = b.bench("-p", 0, "-n", 1, "-r", 1, "--no-probe")
    # Of the plan with everything in memory: less the table of the embedding and the share that is to be streamed.
    memory = int(whole["memory"]["planned"] - account(whole, "resident weights") + options.share * whole["step_bytes"])
    shares, ours, best = [], [], []
    for _ in range(options.rounds):
        facts = b.bench("-p", 0, "-n", 4, "-r", 5, "--memory", memory)
        resident = account(facts, "resident weights")
        # The probe reads the end of the file: as many bytes as we stream in a step.
        streamed = whole["step_bytes"] - resident
        probe = b.probe("stream", options.file, os.path.getsize(options.file) - streamed, "--passes", 6)[-1]
        # Bytes of the embedding are in the file but not in a step; the probe touches them from memory.
        ours.append(facts["decode_tok_s"])
        best.append(probe["passes_s"])
        shares.append(facts["decode_tok_s"] / probe["passes_s"])
        print(f"ours {ours[-1]:.2f} tok/s, waiting {facts['wait_s']:.2f} s, disk busy {facts['disk_busy']:.2f}; probe {probe}", flush=True)
    print(f"memory {memory}, resident {resident}, streamed {streamed}: ours {spread(ours)} tok/s, best probe {spread(best)} passes/s, share {spread(shares)}")


def limited(b, options):
    """Decoding in a memory group of exactly the budget, beside the probe with as many bytes as the group has less the cache and 128 MiB, and beside the peer in such a group."""
    here = pathlib.Path(__file__).with_name("limited.sh")
    words = ["-p", options.prompt, "-n", 6, "-r", 2, "--no-probe", "--ctx-size", 256]
    for memory in options.memory:
        limit = int(float(memory.removesuffix("GiB")) * 2**30) if memory.endswith("GiB") else int(memory)
        ours, best, shares, peers, gains, prompts = [], [], [], [], [], []
        for _ in range(options.rounds):
            run = b.run(here, limit, "--", b.leafcutter, "bench", options.file, "--json", *words, "--memory", limit)
            facts = run.last_json()
            resident = limit - account(facts, "KV cache") - (128 << 20)
            # Of a step the probe keeps that much in memory and reads the rest: the file's other parts are left out of both.
            outside = os.path.getsize(options.file) - facts["step_bytes"]
            probe = b.probe("stream", options.file, resident + outside, "--passes", 3)[-1]
            ours.append(facts["decode_tok_s"])
            best.append(probe["passes_s"])
            shares.append(ours[-1] / best[-1])
            prompts.append(options.prompt / facts["prefill_tok_s"] if options.prompt else 0)
            text = f"{memory}: ours {ours[-1]:.3f} tok/s, prompt {prompts[-1]:.2f} s ({run.err.strip().splitlines()[-1]}), best probe {best[-1]:.3f} passes/s ({probe['streamed_gb_s']:.2f} GB/s)"
            if options.peer:
                # Mapped and as it is: what it repacks would have to stay in memory, and is killed.
                peer = b.run(here, limit, "--", options.peer, "-m", options.gguf, "-t", 2, "-p", 0, "-n", 2, "-r", 1, "--no-warmup", "-lm", "mmap", "--repack", 0, "-o", "jsonl", watched=False)
                peers.append(statistics.median(peer.last_json()["samples_ts"]))
                gains.append(ours[-1] / peers[-1])
                text += f", peer {peers[-1]:.3f} tok/s"
            print(text, flush=True)
        line = f"{memory}: ours {spread(ours, 3)} tok/s, best probe {spread(best, 3)} passes/s, share {spread(shares)}, prompt of {options.prompt} {spread(prompts)} s"
        print(line + (f", peer {spread(peers, 3)} tok/s, ours : peer {spread(gains)}" if peers else ""), flush=True)


def load(b, options):
    """Reads and first touch are measured before and after each load. Memory that lies free may go back to the host of a virtual machine, where its first touch takes a fault of the host as well, at a
    tenth of the rate: the load and the touch find it in the same state, in use until just now, or free for --idle seconds."""
    mib = os.path.getsize(options.file) >> 20

    def touch(times=1):
        return b.run(b.probe_path, "touch", "--mib", mib * times, "--threads", 2, watched=not options.idle).last_json()["gb_s"]

    def prepare_memory():
        drop_caches()
        if options.idle:
            time.sleep(options.idle)
        else:
            touch(times=2)  # a process that loads takes other memory beside

    def limits():
        prepare_memory()
        touched = touch()
        return touched, {(row["slot_mib"], row["readers"]): row["gb_s"] for row in b.probe("read", options.file, "--mib", mib)[:-1]}

    rates, ends = [], [limits()]
    for _ in range(options.rounds):
        prepare_memory()
        facts = b.bench("-p", 0, "-n", 1, "-r", 1, "--no-probe", watched=not options.idle)
        rates.append(account(facts, "resident weights") / facts["load_s"] / 1e9)
        ends.append(limits())
        print(f"load {rates[-1]:.2f} GB/s, then first touch {ends[-1][0]:.2f}, direct reads {ends[-1][1]}", flush=True)
    # One way of reading for all rounds, the fastest in the median: the best of each round would be the luckiest.
    shape = max(ends[0][1], key=lambda way: statistics.median(reads[way] for _, reads in ends))
    touches, reads = [touched for touched, _ in ends], [all_reads[shape] for _, all_reads in ends]

    def around(values, i):
        return (values[i] + values[i + 1]) / 2

    shares = [rate / min(around(touches, i), around(reads, i)) for i, rate in enumerate(rates)]
    print(f"load {spread(rates)} GB/s, first touch {spread(touches)}, direct reads of {shape[0]} MiB by {shape[1]} readers {spread(reads)}, share {spread(shares)}")


def first(b, options):
    times = []
    for _ in range(options.rounds):
        drop_caches()
        run = b.run(b.leafcutter, "run", options.file, "The capital of France is", "-n", 1, "--temp", 0, "--json")
        times.append(run.wall)
    print(f"cold start to the end of a run of one token: {spread(times)} s")


def compress(b, options):
    shares, rates, peaks, cores, limits = [], [], [], [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            drop_caches()
            run = b.run(b.leafcutter, "compress", options.file, "-o", os.path.join(folder, "out.leaf"), "--format", options.format, "--json")
            facts = run.last_json()
            source = options.file
            if os.path.isdir(source):
                source = max(pathlib.Path(source).glob("*.safetensors"), key=os.path.getsize)
            read = b.probe("read", source, "--mib", 1024)[-1]["gb_s"]
            write = max(row["gb_s"] for row in b.probe("write", folder))
        seconds = facts["seconds"]
        # The time that reading and writing alone would take.
        limit = max(facts["source_bytes"] / read, facts["file_bytes"] / write) / 1e9
        rates.append(facts["source_bytes"] / seconds / 1e9)
        limits.append(facts["source_bytes"] / limit / 1e9)
        shares.append(limit / seconds)
        peaks.append(run.peak / 2**20)
        cores.append(run.cpu / run.wall)
        print(f"{rates[-1]:.2f} GB/s of source in {seconds:.1f} s, peak {peaks[-1]:.0f} MiB, {cores[-1]:.2f} cores; read {read:.2f}, write {write:.2f} GB/s", flush=True)
    print(f"compress {options.format}: {spread(rates)} GB/s of source, reading and writing alone {spread(limits)}, share {spread(shares)}, peak {spread(peaks, 0)} MiB, cores {spread(cores)}")


def shared(b, options):
    words = ("-p", 0, "-n", 16, "-r", 3, "--no-probe")
    peer = [options.peer, "-m", options.gguf, "-t", 2, "-p", 0, "-n", 16, "-r", 3, "-o", "jsonl"] if options.peer else None

    def peer_rate():
        run = Run([str(part) for part in peer])
        return statistics.median(run.last_json()["samples_ts"])

    alone, beside, slower, peer_slower = [], [], [], []
    for _ in range(options.rounds):
        alone.append(b.bench(*words)["decode_tok_s"])
        peer_alone = peer_rate() if peer else 0
        other = subprocess.Popen([sys.executable, "-c", "import os\nos.sched_setaffinity(0, {1})\nwhile True: pass"])
        try:
            beside.append(b.bench(*words, watched=False)["decode_tok_s"])
            if peer:
                peer_slower.append(peer_alone / peer_rate())
        finally:
            other.kill()
            other.wait()
        slower.append(alone[-1] / beside[-1])
        print(f"alone {alone[-1]:.2f}, beside {beside[-1]:.2f} tok/s: {slower[-1]:.2f} times slower; peer {peer_slower[-1:]}", flush=True)
    print(f"decode alone {spread(alone)}, one core shared {spread(beside)}: slower by {spread(slower)}" + (f", peer by {spread(peer_slower)}" if peer else ""))


def plan(b, options):
    for memory in options.memory or [None]:
        flag = ["--memory", memory] if memory else []
        predicted = b.run(b.leafcutter, "plan", options.file, "--json", *flag).last_json()
        facts = b.bench("-p", 0, "-n", 16, "-r", 3, "--no-probe", *flag)
        measured = facts["decode_tok_s"]
        print(f"memory {memory or 'all'}: plan {predicted['tokens_per_s']:.2f} tok/s (limit {predicted['limit']}), bench {measured:.2f} [{facts['decode_tok_s_min']:.2f}-{facts['decode_tok_s_max']:.2f}], predicted / measured {predicted['tokens_per_s'] / measured:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("what", choices=("stream", "limited", "load", "first", "compress", "shared", "plan"))
    parser.add_argument("file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=float, default=0, help="seconds that memory lies free before each load and each touch")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--format", default="q4")
    parser.add_argument("--folder", default=None, help="where compress writes (default: the temporary folder)")
    parser.add_argument("--prompt", type=int, default=0)
    parser.add_argument("--peer")
    parser.add_argument("--gguf")
    parser.add_argument("--memory", action="append")
    options = parser.parse_args()
    b = Bench(options)
    globals()[options.what](b, options)
    print(f"dropped because others used the machine: {b.dropped}")


if __name__ == "__main__":
    main()
