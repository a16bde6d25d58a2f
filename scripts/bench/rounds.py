"""One round of a measurement: a run of shardlift or of its reference, and the count of what it sent."""

from things import EmbeddedBroker, Job, kcat_producer

KEY = ".customer_id"


def rotated(items, by):
    """Another order each round, so that no variant always runs after the same one."""
    by %= len(items)
    return items[by:] + items[:by]


def shardlift_round(kafka, pattern, lines, partitions, workers, **rules):
    """One run on a fresh topic; its records are counted by kcat."""
    topic = kafka.fresh_topic(partitions)
    with Job(kafka.bootstrap, topic, pattern, workers, **rules) as job:
        result = job.run(kafka.pids)
    return finish_round(kafka, topic, partitions, lines, result)


def kcat_round(kafka, pattern, lines, partitions, keyed=False):
    topic = kafka.fresh_topic(partitions)
    return finish_round(kafka, topic, partitions, lines, kcat_producer(kafka.bootstrap, topic, pattern, kafka.pids, keyed))


def finish_round(kafka, topic, partitions, lines, result):
    there = kafka.count(topic, partitions)
    kafka.delete_topic(topic)
    if there != lines:
        raise RuntimeError(f"{topic} has {there} records, the source {lines}")
    return rated(result, lines)


def rated(result, lines):
    result["records_per_second"] = round(lines / result["elapsed_s"])
    result["cpu_s_per_million"] = round(result["cpu_s"] * 1e6 / lines, 4)
    return result


def embedded_round(pattern, lines, rtt_ms, workers, **rules):
    """One run, or kcat where there are no workers, against a fresh embedded broker; its memory does not hold all records, so that
    the count is the client's."""
    with EmbeddedBroker(8, rtt=f"{rtt_ms}ms") as broker:
        if workers is None:
            return rated(kcat_producer(broker.bootstrap, "bench", pattern), lines)
        with Job(broker.bootstrap, "bench", pattern, workers, **rules) as job:
            result = job.run()
    sent = result["own"]["records"]["acknowledged"]
    if sent != lines:
        raise RuntimeError(f"{sent} records are acknowledged, the source has {lines}")
    return rated(result, lines)
