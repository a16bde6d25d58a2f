"""What the rows work with: datasets, a real Kafka, the embedded broker, the program and its reference."""

import gzip
import json
import os
import re
import subprocess
import tempfile
from itertools import islice
from pathlib import Path

import measure
from measure import ROOT, say

SCRATCH = Path(os.environ.get("SHARDLIFT_BENCH_DIR") or Path(tempfile.gettempdir()) / f"shardlift-bench-{os.getuid()}")
BINARY = Path(os.environ.get("SHARDLIFT_BIN") or Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/shardlift")


def dataset(lines, bytes_per_line=0, files=1):
    """Lines of the example dataset in a folder of their own; made once and kept. Returns the pattern of its files."""
    folder = SCRATCH / f"data-{lines}-{bytes_per_line}-{files}"
    if not (folder / "complete").exists():
        say(f"making {lines} lines in {folder}")
        subprocess.run([ROOT / "scripts/make-dataset", "--records", str(lines), "--files", str(files), "--out", folder,
                        "--bytes-per-line", str(bytes_per_line)], check=True)
        (folder / "complete").touch()
    return folder / "orders-*.jsonl"


def derived(pattern, name, line, compressed=False):
    """Another form of a dataset, each line changed; made once and kept. Returns the pattern of its files."""
    folder = pattern.parent.with_name(f"{pattern.parent.name}-{name}")
    if not (folder / "complete").exists():
        say(f"making {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        for path in files_of(pattern):
            target = folder / (path.name + (".gz" if compressed else ""))
            with open(path, "rb") as lines, (gzip.open(target, "wb", 1) if compressed else open(target, "wb")) as out:
                out.writelines(map(line, lines))
        (folder / "complete").touch()
    return folder / "orders-*"


CUSTOMER = re.compile(rb'"customer_id":"([^"]*)"')


def with_keys(pattern):
    """Each line behind its key, as kcat's producer reads them."""
    return derived(pattern, "keys", lambda line: CUSTOMER.search(line)[1] + b"\t" + line)


def of_one_key(pattern, compressed):
    """All records have one key."""
    name = "one-key-gzip" if compressed else "one-key"
    return derived(pattern, name, lambda line: CUSTOMER.sub(b'"customer_id":"c1"', line, count=1), compressed)


def in_files(pattern, records):
    """The same lines in files of so few records each; made once and kept. Returns the pattern of the files."""
    folder = pattern.parent.with_name(f"{pattern.parent.name}-by-{records}")
    if not (folder / "complete").exists():
        say(f"making {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        for path in files_of(pattern):
            with open(path, "rb") as lines:
                while piece := b"".join(islice(lines, records)):
                    (folder / f"orders-{number:06}.jsonl").write_bytes(piece)
                    number += 1
        (folder / "complete").touch()
    return folder / "orders-*"


def files_of(pattern):
    return sorted(pattern.parent.glob(pattern.name))


class Kafka:
    """A real one-broker cluster by scripts/kafka, stopped at the end."""

    def __init__(self, proxy=None):
        """`proxy`: a port of this machine through which brokers are reached, too."""
        self.proxy = ["--proxy", str(proxy)] if proxy else []

    def __enter__(self):
        SCRATCH.mkdir(parents=True, exist_ok=True)
        self.folder = SCRATCH / f"kafka-{os.getpid()}"
        self.bootstrap = self.call("start", *self.proxy)
        self.pids = [int(self.call("pid", "1"))]
        self.topics = 0
        self.warm_up()
        return self

    def warm_up(self):
        """A young JVM is slow: some rounds of the reference that are not counted."""
        pattern = dataset(500_000)
        for _ in range(2):
            topic = self.fresh_topic(8)
            kcat_producer(self.bootstrap, topic, pattern)
            self.delete_topic(topic)

    def __exit__(self, *_):
        self.call("stop")

    def call(self, *words):
        argv = [ROOT / "scripts/kafka", "--dir", self.folder, *words]
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def fresh_topic(self, partitions, *configs):
        self.topics += 1
        name = f"bench-{self.topics}"
        words = [word for config in configs for word in ("--config", config)]
        self.call("topic", "create", name, "--partitions", str(partitions), *words)
        return name

    def progress_topic(self):
        """The one of all jobs with exactly-once delivery."""
        name = "bench-progress"
        self.call("topic", "create", name, "--partitions", "4", "--config", "cleanup.policy=compact")
        return name

    def count_committed(self, topic):
        """How many records a reader of committed records gets, as kcat is one: ends of partitions count transactions, too."""
        reader = ["kcat", "-C", "-b", self.bootstrap, "-t", topic, "-o", "beginning", "-e", "-q", "-f", "."]
        with subprocess.Popen(reader, stdout=subprocess.PIPE) as child:
            there = sum(len(block) for block in iter(lambda: child.stdout.read(1 << 20), b""))
        if child.returncode != 0:
            raise RuntimeError(f"kcat ended with {child.returncode}")
        return there

    def delete_topic(self, name):
        self.call("topic", "delete", name)

    def count(self, topic, partitions):
        """How many records a topic has: the sum of its partitions' ends, asked with kcat."""
        ends = [word for p in range(partitions) for word in ("-t", f"{topic}:{p}:-1")]
        out = subprocess.run(["kcat", "-Q", "-b", self.bootstrap, *ends], check=True, capture_output=True, text=True).stdout
        return sum(int(line.rsplit(" ", 1)[1]) for line in out.splitlines())


class EmbeddedBroker:
    """`shardlift broker` with an injected round-trip time."""

    def __init__(self, partitions, rtt="0ms"):
        self.words = ["broker", "--partitions", str(partitions), "--topic", "bench", "--rtt", rtt]

    def __enter__(self):
        self.child = subprocess.Popen([BINARY, *self.words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.bootstrap = self.child.stdout.readline().strip()
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(10)


def kcat_producer(bootstrap, topic, pattern, brokers=(), keyed=False):
    """The reference: kcat's idempotent line producer; with keys on the partitions that Java gives them."""
    keys = ["-K", "\t", "-X", "partitioner=murmur2_random"] if keyed else []
    argv = ["kcat", "-P", "-b", bootstrap, "-t", topic, "-X", "enable.idempotence=true", *keys, "-l", *files_of(pattern)]
    result = measure.run(argv, broker_pids=brokers)
    result.pop("stdout")
    return result


class Job:
    """A shardlift job in a folder of its own, with a config of its own."""

    def __init__(self, bootstrap, topic, pattern, workers, key=None, timestamp=None, headers=None, target_size="auto",
                 flush="chunk", by_key=False, progress=None, accept=()):
        """`progress`: the progress topic of exactly-once delivery; without one it is at least once."""
        self.folder = tempfile.TemporaryDirectory(dir=SCRATCH)
        record = ['value = "."']
        if key:
            record.append(f"key = {json.dumps(key)}")
        if timestamp:
            record += [f"timestamp = {json.dumps(timestamp)}", 'timestamp_unit = "rfc3339"']
        if headers:
            record.append("headers = { " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in headers.items()) + " }")
        # The topic's name, too: to the progress topic each round is another job.
        text = f"""[job]
name = {json.dumps(topic)}
state_dir = "state"
[source.jsonl]
paths = [{json.dumps(str(pattern))}]
[shards]
target_size = {json.dumps(target_size)}
by_key = {json.dumps(by_key)}
[record]
{chr(10).join(record)}
[kafka]
brokers = [{json.dumps(bootstrap)}]
topic = {json.dumps(topic)}
delivery = {json.dumps("exactly-once" if progress else "at-least-once")}
[checkpoint]
topic = {json.dumps(progress or "shardlift-progress")}
[checks]
accept = {json.dumps([*accept, *(["unreplicated"] if progress else [])])}
[workers]
count = {workers}
flush = {json.dumps(flush)}
"""
        (Path(self.folder.name) / "orchestrator.toml").write_text(text)

    def run(self, brokers=()):
        """Runs it to its end. Returns what was measured from outside with what the program says about itself under `own`."""
        result = measure.run([BINARY, "run", "-o", "json", "--progress", "none"], broker_pids=brokers, cwd=self.folder.name)
        result["own"] = json.loads(result.pop("stdout"))
        return result

    def plan(self):
        result = measure.run([BINARY, "plan", "-o", "json"], cwd=self.folder.name)
        return json.loads(result["stdout"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()
