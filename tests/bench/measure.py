"""What the benchmark scripts share: running a command while watching what others take of the machine, and medians with ranges. Standard library only."""
import json
import os
import statistics
import subprocess
import threading
import time

MOST_OTHERS = 1 / 3  # of a core: with more the run is dropped, and counted as dropped
TICKS = os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """Processor time of the whole machine that was not idle, the host's stolen time included."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, soft, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + soft + steal) / TICKS


class Run:
    def __init__(self, command, **options):
        before, start = busy_seconds(), time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.out, self.err = self._finish(process)
        self.wall = time.monotonic() - start
        self.others = max(0.0, busy_seconds() - before - self.cpu) / self.wall
        if self.status:
            raise SystemExit(f"{' '.join(map(str, command))}: exit status {self.status}\n{self.err}")

    def _finish(self, process):
        err = []
        reader = threading.Thread(target=lambda: err.append(process.stderr.read()))
        reader.start()
        out = process.stdout.read()
        reader.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = self.status = os.waitstatus_to_exitcode(status)
        self.cpu, self.peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        return out.decode(), err[0].decode()

    def last_json(self):
        return json.loads([line for line in self.out.splitlines() if line.startswith("{")][-1])


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"
