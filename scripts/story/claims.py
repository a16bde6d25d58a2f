"""The claims of the story, row by row, judged by the figures of a comparison, wherever it ran.

Responsible for: which figures a claim stands on, and when it holds. Not responsible for: where the figures come from; they have
the names of `shardlift compare -o json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from results import Line
from scenes import CPU_MS, GREEN, HEAVY_CPU_MS, PROCESSES, RTT_MS, WAIT_MS


class Load(NamedTuple):
    """What a record meets beside our own work, milliseconds."""

    rtt_ms: float
    wait_ms: float
    cpu_ms: float


STORY = Load(RTT_MS, WAIT_MS, CPU_MS)
HEAVY = Load(RTT_MS, WAIT_MS, HEAVY_CPU_MS)
FLUSH_ALONE = Load(RTT_MS, 0, 0)
NEAR = Load(5, 0, 0)
NEAREST = Load(0, 0, 0)


@dataclass(frozen=True)
class Verdict:
    """What the figures say, and whether the claim holds."""

    figures: str
    holds: bool


class Figures:
    """The results of comparisons, found by what was asked. What was not run is None."""

    def __init__(self, results: Sequence[Line]) -> None:
        self.results = results

    def find(self, variant: str, workers: int = 1, load: Load = STORY, shared: bool = False,
             flush: str = "record") -> Line | None:
        return self.first({"variant": variant, "workers": workers, "shared_producer": shared, "flush": flush, **load._asdict()})

    def beside(self, line: Line) -> Figures:
        """Those that ran in turn with a line: what is compared must have met the same machine."""
        return Figures([other for other in self.results if other.get("file") == line.get("file")])

    def several(self, variant: str, workers: Sequence[int], load: Load = STORY, shared: bool = False) -> list[Line]:
        """Those of several numbers of workers; none unless all were run."""
        found = [line for n in workers if (line := self.find(variant, n, load, shared))]
        return found if len(found) == len(workers) else []

    def web(self, flush: str, shared: bool = False) -> Line | None:
        return self.first({"variant": "web", "flush": flush, "shared_producer": shared, "rtt_ms": RTT_MS})

    def file(self, part: str) -> Figures:
        """Those of comparisons whose name has this in it."""
        return Figures([line for line in self.results if part in line.get("file", "")])

    def first(self, wanted: Line) -> Line | None:
        return next((line for line in self.results if all(line.get(name) == value for name, value in wanted.items())), None)


def much_is_flush(figures: Figures) -> Verdict | None:
    green = figures.find("green-blocking", GREEN[0])
    both = (figures.beside(green) if green else figures).find("single")
    if not both:
        return None
    f = both.get("flush_apart_ms")
    if f is None:
        alone = figures.find("single", load=FLUSH_ALONE)
        if not alone:
            return None
        f = alone["flush_share"] * 1000 / alone["records_per_second"]
    expected = f / (WAIT_MS + CPU_MS + f)
    share = both["flush_share"]
    return Verdict(f"{share:.1%}; f = {f:.2f} ms measured apart says {expected:.1%}", abs(share - expected) <= 0.05)


def seven_give_little(figures: Figures) -> Verdict | None:
    line = figures.find("green-blocking", 7)
    return Verdict(f"{speed(line)} times", 1.15 <= line["relative_speed"] <= 1.35) if line else None


def more_do_not_help(figures: Figures) -> Verdict | None:
    own = figures.several("green-blocking", GREEN)
    shared = figures.several("green-blocking", GREEN, shared=True)
    if not own:
        return None
    said = f"{' / '.join(speed(line) for line in own)} times, max/min {flatness(own):.2f}"
    if shared:
        said += f"; one shared producer {' / '.join(speed(line) for line in shared)}, max/min {flatness(shared):.2f}"
    return Verdict(said, flatness(own) <= 1.10)


def flatness(lines: Sequence[Line]) -> float:
    rates = [line["records_per_second"] for line in lines]
    return float(max(rates) / min(rates))


def cpu_is_idle(figures: Figures) -> Verdict | None:
    lines = figures.several("green-blocking", GREEN)
    most = max((line["thread_cpu_cores"] for line in lines), default=1.0)
    return Verdict(f"{most:.0%} of a core at most", most < 0.5) if lines else None


def processes_scale(figures: Figures) -> Verdict | None:
    lines = figures.several("processes", PROCESSES)
    short = {8: 7.2, 16: 13.5, 32: 23.0}
    alone = figures.several("processes", list(short), NEAR)
    said = [", ".join(f"{line['workers']}: {speed(line)}" for line in lines)] if lines else []
    if alone:
        said.append("RTT 5 ms, nothing else: " + ", ".join(f"{line['workers']}: {speed(line)}" for line in alone))
    good = (all(line["relative_speed"] >= 0.85 * line["workers"] for line in lines)
            and all(line["relative_speed"] >= short[line["workers"]] for line in alone))
    return Verdict("; ".join(said), good) if said else None


def cooperative_saturates(figures: Figures) -> Verdict | None:
    own = figures.find("green-cooperative", 28, HEAVY)
    shared = figures.find("green-cooperative", 28, HEAVY, shared=True)
    if not (own and shared):
        return None
    return Verdict(f"{own['thread_cpu_cores']:.0%} of a core ({own['records_per_second']:,.0f} records/s); a shared producer "
                   f"{shared['thread_cpu_cores']:.0%} ({shared['records_per_second']:,.0f} records/s)",
                   own["thread_cpu_cores"] >= 0.9 > shared["thread_cpu_cores"])


def plain_is_not_delayed(figures: Figures) -> Verdict | None:
    blocking, cooperative = figures.web("blocking"), figures.web("cooperative")
    if not (blocking and cooperative):
        return None
    gains = [blocking["plain_latency_p50_ms"] / cooperative["plain_latency_p50_ms"],
             blocking["plain_latency_p99_ms"] / cooperative["plain_latency_p99_ms"],
             cooperative["produce_requests_per_second"] / blocking["produce_requests_per_second"]]
    said = [change(blocking, cooperative, "plain_latency_p50_ms", "plain p50", " ms"),
            change(blocking, cooperative, "plain_latency_p99_ms", "p99", " ms"),
            change(blocking, cooperative, "produce_requests_per_second", "produce", "/s")]
    shared = [figures.web("blocking", True), figures.web("cooperative", True)]
    if shared[0] and shared[1]:
        said.append(change(shared[0], shared[1], "plain_latency_p50_ms", "one shared producer: plain p50", " ms"))
        said.append(change(shared[0], shared[1], "produce_requests_per_second", "produce", "/s"))
    return Verdict("; ".join(said), gains[0] >= 50 and gains[1] >= 10 and gains[2] >= 3)


def change(before: Line, after: Line, name: str, what: str, unit: str) -> str:
    a, b = before[name], after[name]
    return f"{what} {digits(a)} to {digits(b)}{unit} ({digits(max(a / b, b / a))}x)"


def digits(value: float) -> str:
    """Three of them, all of them from 1,000 on: never an exponent."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


def the_call_blocks(figures: Figures) -> Verdict | None:
    lines = [figures.find(variant, load=FLUSH_ALONE) for variant in ("green-blocking", "green-cooperative")]
    if not (lines[0] and lines[1]):
        return None
    blocking, cooperative = (line["heartbeat_ticks_per_flush_ms"] for line in lines if line)
    return Verdict(f"{blocking:.2f} ticks a ms of blocking flush, {cooperative:.2f} of a cooperative one",
                   blocking < 0.05 and 0.8 <= cooperative <= 1.1)


def wakeup_is_faster(figures: Figures) -> Verdict | None:
    woken = figures.find("green-wakeup", 64, NEAR, shared=True)
    loop = figures.beside(woken).find("green-cooperative", 64, NEAR, shared=True) if woken else None
    if not (woken and loop):
        return None
    faster, cpu = gain(woken, loop)
    said = f"{speed(woken)} times; {faster:.2f} times the cooperative loop on one producer at {cpu:.2f} of its CPU a record"
    if own := figures.find("green-cooperative", 64, NEAR):
        # In another comparison: by the speeds, which each have their own reference.
        relative = woken["relative_speed"] / own["relative_speed"]
        said += f"; {relative:.2f} times the loop with own producers at {gain(woken, own)[1]:.2f} of its CPU"
    return Verdict(said, woken["relative_speed"] >= 50 and faster >= 1.5 and cpu <= 0.5)


def gain(line: Line, other: Line) -> tuple[float, float]:
    """How many times as fast a line is as another, and its part of the other's CPU a record."""
    return (line["records_per_second"] / other["records_per_second"],
            line["cpu_us_per_record"] / other["cpu_us_per_record"])


def chunks_are_faster(figures: Figures) -> Verdict | None:
    bulk = [line for line in figures.results
            if line["variant"] == "single" and line.get("flush") == "chunk" and line["rtt_ms"] == NEAR.rtt_ms]
    said, good = [], False
    for line in bulk:
        if not (reference := figures.beside(line).find("single", load=NEAR)):
            continue
        faster, cpu = gain(line, reference)
        enough = faster >= 5000 and cpu <= 1 / 300 and line["records"] >= 1_000_000
        keyless = " without a key" if "keyless" in line["file"] else ""
        said.append(f"chunk{keyless} {faster:,.0f} times, 1/{1 / cpu:,.0f} of the CPU a record"
                    f"{'' if enough else ' (**not enough**)'}")
        good |= enough
    return Verdict("; ".join(said), good) if said else None


def own_flush_is_faster(figures: Figures) -> Verdict | None:
    def times(load: Load, file: str) -> float | None:
        stock = figures.file(file).find("stock-flush", load=load)
        ours = figures.beside(stock).find("single", load=load) if stock else None
        return gain(ours, stock)[0] if ours and stock else None

    near, nearest = times(NEAR, "stock"), times(NEAREST, "nearest")
    if not (near and nearest):
        return None
    # Where the round trip is 0, a record's way there and back is what waking up costs: told apart, and not judged.
    awake, pinned = times(NEAREST, "awake"), times(NEAREST, "one-processor")
    said = f"{near:.3g} times at RTT 5 ms, {nearest:,.4g} at 0"
    if awake and pinned:
        said += f" ({awake:,.4g} with processors that don't sleep, {pinned:,.4g} with all on one)"
    return Verdict(said, near >= 15 and nearest >= 1000)


def speed(line: Line) -> str:
    return f"{line['relative_speed']:.3g}"


# Number, claim, when it holds, how it is judged.
CLAIMS: Sequence[tuple[int, str, str, Callable[[Figures], Verdict | None]]] = [
    (1, "much of the run is in flush", "within 5 points of f/(d+c+f)", much_is_flush),
    (2, "7 green threads with blocking flush give little", "1.15 to 1.35 times", seven_give_little),
    (3, "more of them don't help: 2, 7, 14, 28", "max/min at most 1.10", more_do_not_help),
    (4, "the CPU is idle meanwhile", "under 50 % of one core", cpu_is_idle),
    (5, "processes are proportional", "at least 0.85 n; at RTT 5 ms alone 7.2 of 8, 13.5 of 16, 23 of 32", processes_scale),
    (6, "the cooperative flush saturates the CPU: 28 workers, CPU 2 ms",
     "own producers: at least 90 % of one core; a shared one not", cooperative_saturates),
    (7, "plain requests are no longer delayed", "p50 down 50x, p99 10x, produce up 3x", plain_is_not_delayed),
    (8, "the C call blocks the OS thread", "heartbeat ticks a ms of flush: under 0.05, 0.8 to 1.1", the_call_blocks),
    (9, "beyond it: woken by the report, 64 workers on one producer",
     "at least 50 times; 1.5x the cooperative loop at half its CPU", wakeup_is_faster),
    (10, "beyond it: a flush for each chunk, a million records", "at least 5,000 times at 1/300 of the CPU a record", chunks_are_faster),
    (11, "the binding's own flush", "ours at least 15x at RTT 5 ms, 1,000x at 0", own_flush_is_faster),
]
