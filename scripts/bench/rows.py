"""The measurements, by their row in the acceptance list: what is run, how often, and what is kept of it."""

from statistics import median

from counts import row20
from measure import Results, say
from reach import row15, row16, row17, row19
from rounds import KEY, kcat_round, rotated, shardlift_round
from things import EmbeddedBroker, Job, Kafka, dataset, files_of, of_one_key, with_keys

def row10(options):
    """10 M lines against kcat; then, without a gate, other shapes of 1 M lines."""
    results = Results(options.out, 10)
    lines, partitions = options.lines or 10_000_000, 8
    pattern = dataset(lines)
    with Kafka() as kafka:
        variants = [("kcat", None), ("shardlift", 1), ("shardlift", 4)]
        for number in range(options.rounds or 5):
            for name, workers in rotated(variants, number):
                if name == "kcat":
                    result = kcat_round(kafka, pattern, lines, partitions)
                elif options.only != "kcat":
                    result = shardlift_round(kafka, pattern, lines, partitions, workers)
                else:
                    continue
                results.add(part="gate", round=number + 1, variant=name, workers=workers, lines=lines, partitions=partitions, **result)
        other_shapes(options, results, kafka)
    results.finish()


def other_shapes(options, results, kafka):
    lines = min(options.lines or 1_000_000, 1_000_000)
    plain, large = dataset(lines), dataset(lines, 1024)
    shapes = [
        ("keyless, 8 partitions", plain, 8, {}),
        ("murmur2 key", plain, 8, {"key": KEY}),
        ("timestamp and header", plain, 8, {"timestamp": ".created_at", "headers": {"source": "bench"}}),
        ("1 KiB records", large, 8, {}),
        ("1 partition", plain, 1, {}),
        ("100 partitions", plain, 100, {}),
    ]
    for number in range(min(options.rounds or 3, 3)):
        for shape, pattern, partitions, rules in rotated(shapes, number):
            common = {"part": "shapes", "round": number + 1, "shape": shape, "lines": lines, "partitions": partitions}
            if not rules:
                results.add(**common, variant="kcat", workers=None, **kcat_round(kafka, pattern, lines, partitions))
            for workers in (1, 4) if options.only != "kcat" else ():
                result = shardlift_round(kafka, pattern, lines, partitions, workers, **rules)
                results.add(**common, variant="shardlift", workers=workers, **result)


def row9(options):
    """A flush after each record at 5 ms: how the rate grows with the workers."""
    results = Results(options.out, 9)
    per_worker, length = options.lines or 2_200, 256  # about 11.6 s at 190 records a second
    for number in range(options.rounds or 5):
        for workers in rotated([1, 2, 4, 8, 16, 32], number):
            pattern = dataset(per_worker * workers, length)
            with EmbeddedBroker(64, "5ms") as broker:
                with Job(broker.bootstrap, "bench", pattern, workers, target_size=f"{per_worker * length}B", flush="record") as job:
                    shards = len(job.plan()["shards"])
                    if shards != workers:
                        raise RuntimeError(f"{shards} shards for {workers} workers: each worker needs one of its own")
                    result = job.run()
            attempts = result["own"]["attempts"]
            rates = [worker_rate(attempt) for attempt in attempts]
            results.add(round=number + 1, workers=workers, records_per_worker=per_worker, rate=round(sum(rates), 2),
                        slowest_worker=round(min(rates), 2), shortest_window_s=round(min(window_s(a) for a in attempts), 2), **result)
    results.finish()


def window_s(attempt):
    first, last = attempt["deliveries_us"]
    return (last - first) / 1e6


def worker_rate(attempt):
    """Records a second between a worker's first and last delivery."""
    return (attempt["acknowledged"] - 1) / window_s(attempt)


def row11(options):
    """What more workers cost, and how long an attempt takes to its first delivery."""
    results = Results(options.out, 11)
    lines, partitions = options.lines or 4_000_000, 8
    pattern = dataset(lines)
    variants = [(keyed, workers) for keyed in (False, True) for workers in (1, 2, 4, 8, 16)]
    with Kafka() as kafka:
        for number in range(options.rounds or 5):
            for keyed, workers in rotated(variants, number):
                result = shardlift_round(kafka, pattern, lines, partitions, workers, key=KEY if keyed else None)
                results.add(part="cost", round=number + 1, keyed=keyed, workers=workers, lines=lines, **result)
    small = dataset(100_000)
    target = sum(path.stat().st_size for path in files_of(small)) // 100
    for number in range(options.rounds or 5):
        with EmbeddedBroker(8) as broker:
            with Job(broker.bootstrap, "bench", small, 1, target_size=f"{target}B") as job:
                result = job.run()
        starts = sorted(attempt["start_latency_ms"] for attempt in result["own"]["attempts"])
        results.add(part="start", round=number + 1, attempts=len(starts), start_p50_ms=round(median(starts), 2),
                    start_max_ms=round(starts[-1], 2), start_latencies_ms=starts, **result)
    results.finish()


def row12(options):
    """Five times the data: the same CPU for a record and the same memory."""
    results = Results(options.out, 12)
    large = options.lines or 10_000_000
    partitions, workers = 8, 4
    sizes = [large // 5, large]
    patterns = {lines: dataset(lines) for lines in sizes}
    with Kafka() as kafka:
        for number in range(options.rounds or 5):
            for lines in rotated(sizes, number):
                result = shardlift_round(kafka, patterns[lines], lines, partitions, workers)
                peaks = [attempt["peak_memory_bytes"] for attempt in result["own"]["attempts"]]
                results.add(round=number + 1, lines=lines, workers=workers, worker_peak_bytes=max(peaks),
                            supervisor_peak_bytes=result["peak_process_bytes"], **result)
    results.finish()


def row13(options):
    """Order by key: what it costs, against shards by place and kcat with a key."""
    results = Results(options.out, 13)
    lines, partitions = options.lines or 4_000_000, 8
    pattern = dataset(lines)
    keyed = with_keys(pattern)
    variants = [("kcat", None, None)] + [("shardlift", by_key, workers) for by_key in (False, True) for workers in (1, 2, 4)]
    with Kafka() as kafka:
        for number in range(options.rounds or 5):
            for name, by_key, workers in rotated(variants, number):
                if name == "kcat":
                    result = kcat_round(kafka, keyed, lines, partitions, keyed=True)
                else:
                    result = shardlift_round(kafka, pattern, lines, partitions, workers, key=KEY, by_key=by_key)
                results.add(part="order", round=number + 1, variant=name, by_key=by_key, workers=workers, lines=lines,
                            **result)
            for compressed in rotated([False, True], number):
                one_key = of_one_key(pattern, compressed)
                result = shardlift_round(kafka, one_key, lines, partitions, 2, key=KEY, by_key=True)
                results.add(part="drop", round=number + 1, compressed=compressed, lines=lines, **dropping(result, lines),
                            **result)
    results.finish()


def row14(options):
    """Exactly once against at least once, with the default chunks of a second."""
    results = Results(options.out, 14)
    lines, partitions = options.lines or 10_000_000, 8
    pattern = dataset(lines)
    variants = [(delivery, workers) for workers in (1, 4) for delivery in ("at-least-once", "exactly-once")]
    with Kafka() as kafka:
        progress = kafka.progress_topic()
        for number in range(options.rounds or 9):
            for delivery, workers in rotated(variants, number):
                topic = kafka.fresh_topic(partitions)
                own = progress if delivery == "exactly-once" else None
                with Job(kafka.bootstrap, topic, pattern, workers, progress=own) as job:
                    result = job.run(kafka.pids)
                there = kafka.count_committed(topic)
                kafka.delete_topic(topic)
                if there != lines:
                    raise RuntimeError(f"{topic} has {there} records, the source {lines}")
                result["records_per_second"] = round(lines / result["elapsed_s"])
                result["cpu_s_per_million"] = round(result["cpu_s"] * 1e6 / lines, 4)
                results.add(round=number + 1, delivery=delivery, workers=workers, lines=lines, **result)
    results.finish()


def row18(options):
    """What the start of an attempt costs far from the brokers: its slot's time, and the time to its first delivery."""
    results = Results(options.out, 18)
    lines, shards = options.lines or 400_000, 20
    pattern = dataset(lines)
    target = sum(path.stat().st_size for path in files_of(pattern)) // shards
    for number in range(options.rounds or 5):
        for workers in rotated([1, 4], number):
            with EmbeddedBroker(8, rtt=f"{ROW_18_RTT_MS}ms") as broker:
                with Job(broker.bootstrap, "bench", pattern, workers, target_size=f"{target}B") as job:
                    result = job.run()
            # The first of each slot has no worker before it that it could come early for.
            first, later = result["own"]["attempts"][:workers], result["own"]["attempts"][workers:]
            results.add(round=number + 1, workers=workers, lines=lines, attempts=len(first) + len(later),
                        rtt_ms=ROW_18_RTT_MS, **starting("first", first), **starting("later", later), **result)
    results.finish()


ROW_18_RTT_MS = 80


def starting(which, attempts):
    """Medians of what the slots of these attempts waited: until records could move, and until the first was delivered."""
    waited = [attempt["phases_ms"]["start"] for attempt in attempts]
    delivered = [attempt["start_latency_ms"] for attempt in attempts]
    return {f"{which}_start_p50_ms": round(median(waited), 1), f"{which}_delivery_p50_ms": round(median(delivered), 1)}


def dropping(result, lines):
    """All records have one key, so that one of two workers sends them all and the other drops them all. What the other
    used, and the part of it that is no reading, by its thread's times."""
    idle = [attempt for attempt in result["own"]["attempts"] if attempt["acknowledged"] == 0]
    if len(idle) != 1:
        raise RuntimeError(f"{len(idle)} workers sent nothing, and one of two should not")
    cpu_s, phases = idle[0]["cpu_ms"] / 1000, idle[0]["phases_ms"]
    finding = phases["map"] / (phases["map"] + phases["read"])
    return {"drop_cpu_s_per_million": round(cpu_s * 1e6 / lines, 4),
            "find_cpu_s_per_million": round(cpu_s * finding * 1e6 / lines, 4)}


ROWS = {"9": row9, "10": row10, "11": row11, "12": row12, "13": row13, "14": row14, "15": row15,
        "16": row16, "17": row17, "18": row18, "19": row19, "20": row20}


def run_rows(names, options):
    for name in names:
        say(f"row {name}: {ROWS[name].__doc__.splitlines()[0]}")
        ROWS[name](options)
