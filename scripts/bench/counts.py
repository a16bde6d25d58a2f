"""Row 20: the number of workers that `auto` finds, against fixed ones, where the time is computing, waiting, or a full network."""

import json
import os
import signal
import subprocess
import tempfile
import time
from statistics import median

from measure import Results
from network import Network
from things import BINARY, EmbeddedBroker, Job, Kafka, dataset

FIXED_S, AUTO_S, FOUND_BY_S, FROM_S = 20, 60, 20, 5
CASES = [("beside the broker", None, [1, 2, 4, 8]), ("80 ms away", "80ms", [2, 8, 16, 32, 64]),
         ("real Kafka 100 ms away, 1 partition, 30 MB/s at most", "network", [1, 2, 4, 8, 16])]


def row20(options):
    """`auto` against fixed numbers of workers: for seconds, then stopped; rates are those of its own progress events."""
    results = Results(options.out, 20)
    pattern = dataset(options.lines or 60_000_000, files=16)
    for case, where, counts in CASES:
        runs = [(workers, FIXED_S) for workers in counts] + [("auto", AUTO_S)] * (options.rounds or 3)
        for number, (workers, seconds) in enumerate(runs):
            with Brokers(where) as brokers:
                events = progress(brokers, pattern, workers, seconds)
            since = FROM_S if workers != "auto" else FOUND_BY_S
            results.add(case=case, workers=workers, number=number + 1, rate=round(rate(events, since)), since_s=since,
                        lasted_s=events[-1]["elapsed_ms"] / 1000, asked=[event["asked"] for event in events],
                        turns=turns(events))
    results.finish()


class Brokers:
    def __init__(self, where):
        self.where = where

    def __enter__(self):
        if self.where != "network":
            self.broker = EmbeddedBroker(8, self.where or "0ms").__enter__()
            self.bootstrap, self.topic = self.broker.bootstrap, "bench"
            return self
        self.network = Network(0.1, 30e6)
        self.broker = Kafka(proxy=self.network.port).__enter__()
        self.network.connect_to(self.broker.call("behind-proxy"))
        self.bootstrap = f"127.0.0.1:{self.network.port}"
        self.topic = self.broker.fresh_topic(1, "retention.bytes=50000000", "segment.bytes=10485760")
        return self

    def __exit__(self, *_):
        if self.where == "network":
            self.network.close()
        self.broker.__exit__()


def progress(brokers, pattern, workers, seconds):
    """Runs a job for a while, or to its end; what it said of itself each second."""
    with Job(brokers.bootstrap, brokers.topic, pattern, json.dumps(workers), accept=["retention", "retention-size"]) as job, tempfile.TemporaryFile() as err:
        argv = [BINARY, "run", "--progress", "json", "-o", "json"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SHARDLIFT_")}
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, cwd=job.folder.name,
                                 env=environment)
        deadline = time.monotonic() + seconds + 5
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        code = child.wait(60)
        err.seek(0)
        said = err.read().decode()
        if code not in (0, 75):
            raise RuntimeError(f"the run ended with {code}:\n{said[-2000:]}")
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return [event for event in lines if event.get("_event") == "progress" and event["state"] == "running"
            and event["elapsed_ms"] <= seconds * 1000]


def rate(events, since):
    """Records a second from then on."""
    seen = [(event["elapsed_ms"] / 1000, event["records"]) for event in events if event["elapsed_ms"] >= since * 1000]
    (first, before), (last, after) = seen[0], seen[-1]
    return (after - before) / (last - first)


def turns(events):
    texts = {event["last_turn"]["unix_ms"]: event["last_turn"]["text"] for event in events if event.get("last_turn")}
    return [text for _, text in sorted(texts.items())]


def table20(lines, about, table, gate):
    text = ("## Row 20: the number of workers that `auto` finds\n\n" + about + "Fixed numbers once, `auto` as often as the "
            f"table says. A fixed rate is that from second {FROM_S} on, one of `auto` that from second {FOUND_BY_S} on.\n\n")
    rows = []
    for case in dict.fromkeys(line["case"] for line in lines):
        of_case = [line for line in lines if line["case"] == case]
        fixed = {line["workers"]: line["rate"] for line in of_case if line["workers"] != "auto"}
        best = max(fixed.values())
        found = [line for line in of_case if line["workers"] == "auto"]
        ends = ", ".join(str(line["asked"][-1]) for line in found)
        rates = [line["rate"] for line in found]
        rows.append([case, "; ".join(f"{workers}: {rate:,}" for workers, rate in fixed.items()), ends,
                     ", ".join(f"{rate:,}" for rate in rates), gate(median(rates) / best, 0.9, False)])
    return text + table(["brokers", "records/s with fixed workers", "auto ended with", "records/s", "of the best fixed"], rows)
