"""What a run measures on its one thread, and how the measurements of several threads become one line."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

BEAT_S = 0.001


def spin(seconds: float) -> None:
    """Uses the processor for so long, by the thread's own clock: who waits for a processor has not used it."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@dataclass
class Part:
    """What one thread measured while its clock ran. Times in seconds."""

    records: int = 0
    began: float = 0.0
    ended: float = 0.0
    wall: float = 0.0  # of all workers on it
    flush: float = 0.0  # of all workers on it
    in_flush: float = 0.0  # while at least one worker flushed
    ticks_in_flush: int = 0
    latencies: list[float] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)  # how late each was
    thread_cpu: float = 0.0
    cpu: float = 0.0
    peak_bytes: int = 0


class Clock:
    """The measurement of one thread, for as long as a block lasts."""

    def __init__(self) -> None:
        self.part = Part()
        self._flushing = 0
        self._flush_began = 0.0

    def begin(self) -> None:
        """What was before does not count."""
        self.part = Part(thread_cpu=time.thread_time(), cpu=process_cpu(), began=time.monotonic())

    def end(self) -> None:
        self.part.ended = time.monotonic()
        self.part.thread_cpu = time.thread_time() - self.part.thread_cpu
        self.part.cpu = process_cpu() - self.part.cpu
        self.part.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    @contextmanager
    def running(self) -> Iterator[None]:
        self.begin()
        yield
        self.end()

    @contextmanager
    def flush(self) -> Iterator[None]:
        """Around each flush of a worker."""
        began = time.monotonic()
        if not self._flushing:
            self._flush_began = began
        self._flushing += 1
        yield
        ended = time.monotonic()
        self._flushing -= 1
        if not self._flushing:
            self.part.in_flush += ended - self._flush_began
        self.part.flush += ended - began

    def tick(self, due: float) -> float:
        """Other work could run now: all ticks since `due` are counted, each with how late it is. When the next one is due.

        Those of a flush were due in it and came in it; what was overdue before says nothing about it.
        """
        now = time.monotonic()
        while due <= now:
            self.part.beats.append(now - due)
            self.part.ticks_in_flush += self._flushing > 0 and due >= self._flush_began
            due += BEAT_S
        return due

    def beat(self, sleep: Callable[[float], None]) -> None:
        """The heartbeat as a green thread, for ever."""
        due = time.monotonic() + BEAT_S
        while True:
            sleep(max(due - time.monotonic(), 0))
            due = self.tick(due)


def process_cpu() -> float:
    """CPU of the process so far, the C client's threads included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def percentile(values: Sequence[float], part: float) -> float | None:
    """The nearest rank; None of nothing."""
    return sorted(values)[max(ceil(part * len(values)) - 1, 0)] if values else None


def milliseconds(values: Sequence[float], part: float) -> float | None:
    seconds = percentile(values, part)
    return None if seconds is None else round(seconds * 1000, 3)


def figures(parts: Sequence[Part]) -> dict[str, object]:
    """What a run of any kind has."""
    elapsed = elapsed_s(parts)
    in_flush = sum(part.in_flush for part in parts)
    beats = [value for part in parts for value in part.beats]
    return {
        "elapsed_ms": round(elapsed * 1000, 3),
        "cpu_cores": round(sum(part.cpu for part in parts) / elapsed, 4),
        "thread_cpu_cores": round(sum(part.thread_cpu for part in parts) / elapsed, 4),
        "heartbeat_delay_p50_ms": milliseconds(beats, 0.5),
        "heartbeat_delay_p99_ms": milliseconds(beats, 0.99),
        "heartbeat_ticks_per_flush_ms": round(sum(part.ticks_in_flush for part in parts) / (in_flush * 1000), 3),
        "peak_memory_bytes": sum(part.peak_bytes for part in parts),
    }


def worker_figures(parts: Sequence[Part]) -> dict[str, object]:
    """The figures of a run of workers, under the names that `shardlift compare -o json` has too."""
    elapsed = elapsed_s(parts)
    records = sum(part.records for part in parts)
    flush = sum(part.flush for part in parts)
    latencies = [value for part in parts for value in part.latencies]
    return {
        "records": records,
        "records_per_second": round(records / elapsed, 3),
        "flush_share": round(flush / sum(part.wall for part in parts), 4),
        "flush_mean_ms": round(flush / records * 1000, 3),
        "cpu_us_per_record": round(sum(part.cpu for part in parts) / records * 1e6, 1),
        "latency_p50_ms": milliseconds(latencies, 0.5),
        "latency_p99_ms": milliseconds(latencies, 0.99),
        **figures(parts),
    }


def elapsed_s(parts: Sequence[Part]) -> float:
    """From the first one's start to the last one's end; the monotonic clock is the same for all processes."""
    return max(part.ended for part in parts) - min(part.began for part in parts)
