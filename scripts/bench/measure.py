"""Runs one command and measures it from outside: wall time, CPU of its whole process tree, peak memory, a broker's CPU."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def machine():
    """What the figures depend on."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    memory = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1]) * 1024
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "system": platform.platform(),
    }


def commit():
    """The commit that was measured, with a mark if the tree had changes outside the results themselves."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--", ".", ":!docs"], capture_output=True, text=True).stdout.strip()
    return head + ("+changes" if changed else "")


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def process_cpu_s(pid):
    """CPU seconds of a process so far, its threads included, its children not."""
    with open(f"/proc/{pid}/stat") as stat:
        words = stat.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICK


def peak_bytes(pid):
    """VmHWM, or None once the process has gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), None)
    except OSError:
        return None


def run(argv, broker_pids=(), cwd=None, expected=0):
    """Runs a command to its end. Returns what was measured; raises if it did not end with the expected code.

    CPU is that of the process and of all descendants that it waited for (wait4), so that killed workers count too.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHARDLIFT_")}
    os.sync()  # what an earlier round wrote must not be paid by this one
    brokers_before = sum(process_cpu_s(pid) for pid in broker_pids)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        child = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 cwd=cwd, env=environment)
        peak = None
        while True:
            peak = peak_bytes(child.pid) or peak
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        elapsed = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(), err.read().decode(errors="replace")
    if child.returncode != expected:
        raise RuntimeError(f"{argv[0]} ended with {child.returncode}, expected {expected}:\n{stderr[-4000:]}{stdout[-2000:]}")
    return {
        "elapsed_s": round(elapsed, 4),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 4),
        "peak_process_bytes": peak,
        "broker_cpu_s": round(sum(process_cpu_s(pid) for pid in broker_pids) - brokers_before, 3),
        "stdout": stdout,
    }


class Results:
    """The raw results of one row: a JSON line for each round, written when the round is over."""

    def __init__(self, folder, row):
        folder.mkdir(parents=True, exist_ok=True)
        self.final = folder / f"row-{row}.jsonl"
        self.part = folder / f"row-{row}.jsonl.part"
        self.file = open(self.part, "w")
        self.common = {"row": row, "commit": commit(), "machine": machine()}

    def add(self, **values):
        line = {**self.common, "date": now(), **values}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        shown = {name: value for name, value in values.items() if not isinstance(value, (dict, list))}
        say(" ".join(f"{name}={value}" for name, value in shown.items()))

    def finish(self):
        """Only a complete series takes the place of the one before."""
        self.file.close()
        self.part.rename(self.final)
        say(f"wrote {self.final}")
