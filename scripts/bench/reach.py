"""Rows 15, 16, 17 and 19: far brokers, many partitions, records with a key, and many small files."""

from measure import Results
from rounds import KEY, embedded_round, kcat_round, rotated, shardlift_round
from things import Kafka, dataset, in_files

DISTANCES_MS = [0, 1, 5, 20, 80]
FAR_MS = 80
FEW_RECORDS_MS = 20


def row15(options):
    """Distance, on the embedded broker: against kcat with idempotence, and order by key with more workers."""
    results = Results(options.out, 15)
    lines = options.lines or 10_000_000
    pattern = dataset(lines)
    # kcat does not know order by key, and one worker has it for nothing.
    variants = [(rtt, by_key, workers) for rtt in DISTANCES_MS for by_key, workers in ((False, None), (False, 1), (False, 4))]
    variants += [(FAR_MS, True, 1), (FAR_MS, True, 4)]
    for number in range(options.rounds or 5):
        for rtt, by_key, workers in rotated(variants, number):
            rules = {"key": KEY, "by_key": True} if by_key else {}
            result = embedded_round(pattern, lines, rtt, workers, **rules)
            results.add(round=number + 1, rtt_ms=rtt, by_key=by_key, variant="shardlift" if workers else "kcat", workers=workers,
                        lines=lines, **result)
    results.finish()


def row16(options):
    """Many partitions of one real broker, against kcat with idempotence."""
    results = Results(options.out, 16)
    lines = options.lines or 4_000_000
    pattern = dataset(lines)
    variants = [(partitions, workers) for partitions in (100, 1000) for workers in (None, 1, 4)]
    with Kafka() as kafka:
        for number in range(options.rounds or 5):
            for partitions, workers in rotated(variants, number):
                result = (shardlift_round(kafka, pattern, lines, partitions, workers) if workers
                          else kcat_round(kafka, pattern, lines, partitions))
                results.add(round=number + 1, partitions=partitions, variant="shardlift" if workers else "kcat", workers=workers,
                            lines=lines, **result)
    results.finish()


def row17(options):
    """What a key costs: records with one on 8 partitions, against the same ones without."""
    results = Results(options.out, 17)
    lines, partitions = options.lines or 4_000_000, 8
    pattern = dataset(lines)
    variants = [(keyed, workers) for keyed in (False, True) for workers in (1, 4)]
    with Kafka() as kafka:
        for number in range(options.rounds or 5):
            for keyed, workers in rotated(variants, number):
                result = shardlift_round(kafka, pattern, lines, partitions, workers, key=KEY if keyed else None)
                results.add(round=number + 1, keyed=keyed, workers=workers, lines=lines, **result)
    results.finish()


def row19(options):
    """Many small files, against the same records in one; and one record a file, far away."""
    results = Results(options.out, 19)
    lines, partitions = options.lines or 300_000, 8
    one, many = dataset(lines), in_files(dataset(lines), 10)
    fewest = options.lines or 100_000
    single = in_files(dataset(fewest), 1)
    with Kafka() as kafka:
        for number in range(options.rounds or 5):
            for files, workers in rotated([(files, workers) for files in ("one", "many") for workers in (1, 4)], number):
                result = shardlift_round(kafka, one if files == "one" else many, lines, partitions, workers)
                results.add(part="files", round=number + 1, files=files, workers=workers, lines=lines, **result)
    for number in range(options.rounds or 5):
        result = embedded_round(single, fewest, FEW_RECORDS_MS, 4)
        results.add(part="single", round=number + 1, rtt_ms=FEW_RECORDS_MS, workers=4, lines=fewest, **result)
    results.finish()
