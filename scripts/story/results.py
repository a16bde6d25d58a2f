"""Raw results as JSON lines, what they come to over the rounds, and the table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, stdev
from typing import Any

Line = dict[str, Any]
# What a row of the results is known by: the same names in shardlift's JSON.
WORKERS_KEY = ("variant", "workers", "shared_producer", "flush", "rtt_ms", "wait_ms", "cpu_ms")
WEB_KEY = ("variant", "flush", "shared_producer", "rtt_ms", "clients", "others", "pause_ms")


class RawResults:
    """A file of JSON lines: the conditions first, then a line for each run, written when it is over."""

    def __init__(self, path: Path, conditions: Line) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("w")
        self.add({"conditions": conditions})

    def add(self, line: Line) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


def read(path: Path) -> tuple[Line, list[Line]]:
    """The conditions and the runs of a file."""
    first, *runs = (json.loads(line) for line in path.read_text().splitlines())
    return first["conditions"], runs


def of_comparison(path: Path, comparison: Line) -> list[Line]:
    """The results of `shardlift compare -o json`, each with the conditions that it ran under and where it is from."""
    conditions, model = comparison["conditions"], comparison.get("model")
    common = {name: conditions.get(name) for name in ("rtt_ms", "wait_ms", "cpu_ms")} | {"file": path.name}
    if "clients" in conditions:
        common.update(variant="web", shared_producer=conditions["shared_producer"])
    if model:
        common["flush_apart_ms"] = model["flush_us"] / 1000
    return [{**common, **line} for line in comparison["results"]]


def key_of(run: Line) -> tuple[object, ...]:
    return tuple(run[name] for name in (WEB_KEY if run["variant"] == "web" else WORKERS_KEY))


def summaries(runs: Iterable[Line]) -> list[Line]:
    """A line for each setting: medians over its rounds, the least and the greatest under `spread`."""
    groups: dict[tuple[object, ...], list[Line]] = {}
    for run in runs:
        groups.setdefault(key_of(run), []).append(run)
    references = {run["round"]: run for run in next(iter(groups.values()), []) if run["variant"] == "single"}
    return [summary(rounds, references) for rounds in groups.values()]


def summary(rounds: Sequence[Line], references: dict[int, Line]) -> Line:
    first = rounds[0]
    out: Line = {name: first[name] for name in (WEB_KEY if first["variant"] == "web" else WORKERS_KEY)}
    out["rounds"], out["spread"] = len(rounds), {}
    for name in first:
        values = [run[name] for run in rounds if isinstance(run[name], (int, float)) and name not in (*out, "round")]
        if values:
            put(out, name, values)
    # To the reference of the same round, so that what slows a round down slows both.
    relative = [run["records_per_second"] / references[run["round"]]["records_per_second"]
                for run in rounds if run["round"] in references and "records_per_second" in run]
    if relative:
        put(out, "relative_speed", relative)
        out["relative_speed_error"] = stdev(relative) / len(relative) ** 0.5 if len(relative) > 1 else None
    return out


def put(out: Line, name: str, values: Sequence[float]) -> None:
    out[name] = median(values)
    out["spread"][name] = [min(values), max(values)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned for a terminal: the first to the left, figures to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
                     for row in (header, *rows))


def show(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def show_speed(line: Line) -> str:
    error = line.get("relative_speed_error")
    return show(line.get("relative_speed"), 2) + (f" ±{error:.2f}" if error is not None else "")


def text(results: Sequence[Line]) -> str:
    """The tables of what was run."""
    parts = [worker_table([line for line in results if line["variant"] != "web"]),
             web_table([line for line in results if line["variant"] == "web"])]
    return "\n\n".join(part for part in parts if part)


def worker_table(results: Sequence[Line]) -> str:
    header = ["variant", "workers", "producer", "wait ms", "CPU ms", "records/s", "spread", "speed", "in flush", "cores",
              "of thread", "CPU us/rec", "delivery p50", "p99 ms", "heartbeat p50", "p99 ms", "ticks/ms", "MiB"]
    rows = [[
        line["variant"],
        show(line["workers"]),
        "shared" if line["shared_producer"] else "own",
        f"{line['wait_ms']:g}",
        f"{line['cpu_ms']:g}",
        show(line["records_per_second"], 1),
        " to ".join(show(value) for value in line["spread"]["records_per_second"]),
        show_speed(line),
        f"{line['flush_share']:.1%}",
        show(line["cpu_cores"], 2),
        show(line["thread_cpu_cores"], 2),
        show(line["cpu_us_per_record"]),
        show(line["latency_p50_ms"], 2),
        show(line["latency_p99_ms"], 2),
        show(line.get("heartbeat_delay_p50_ms"), 2),
        show(line.get("heartbeat_delay_p99_ms"), 2),
        show(line["heartbeat_ticks_per_flush_ms"], 2),
        show(line["peak_memory_bytes"] / 2**20),
    ] for line in results]
    return table(header, rows) if rows else ""


def web_table(results: Sequence[Line]) -> str:
    header = ["web, flush", "producer", "plain/s", "plain p50", "p99 ms", "produce/s", "produce p50", "p99 ms", "cores",
              "of thread", "heartbeat p50", "p99 ms", "MiB"]
    rows = [[
        line["flush"],
        "shared" if line["shared_producer"] else "own",
        show(line["plain_requests_per_second"], 1),
        show(line["plain_latency_p50_ms"], 2),
        show(line["plain_latency_p99_ms"], 2),
        show(line["produce_requests_per_second"], 1),
        show(line["produce_latency_p50_ms"], 2),
        show(line["produce_latency_p99_ms"], 2),
        show(line["cpu_cores"], 2),
        show(line["thread_cpu_cores"], 2),
        show(line.get("heartbeat_delay_p50_ms"), 2),
        show(line.get("heartbeat_delay_p99_ms"), 2),
        show(line["peak_memory_bytes"] / 2**20),
    ] for line in results]
    return table(header, rows) if rows else ""
