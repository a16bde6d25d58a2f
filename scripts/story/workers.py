"""Who steps the workers: one thread, N green threads on one thread, N processes. What a worker does is the same for all."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import client
import gevent
from children import die_with_parent
from confluent_kafka import Message, Producer
from measure import BEAT_S, Clock, Part, spin

STARTED_TOGETHER = 4  # the broker's listen backlog is 5


@dataclass(frozen=True)
class Load:
    """What is asked of a run."""

    variant: str
    workers: int
    shared_producer: bool
    wait_ms: float
    cpu_ms: float
    seconds: float
    brokers: str
    topic: str


class Worker:
    """Sends one record after the other and waits for each."""

    def __init__(self, load: Load, clock: Clock, producer: Producer, sleep: Callable[[float], None],
                 flush: Callable[[Producer], None]) -> None:
        self.load, self.clock, self.producer, self.sleep, self.flush = load, clock, producer, sleep, flush
        self.delivered = 0

    def run(self, between: Callable[[], None] = lambda: None) -> None:
        """Until the clock has run for the time that was asked for. A record that was begun is finished."""
        began = time.monotonic()
        sent = 0
        while time.monotonic() < self.clock.part.began + self.load.seconds:
            self.one_record(sent)
            sent += 1
            between()
        self.clock.part.records += sent
        self.clock.part.wall += time.monotonic() - began

    def one_record(self, number: int) -> None:
        if self.load.wait_ms:
            self.sleep(self.load.wait_ms / 1000)
        if self.load.cpu_ms:
            spin(self.load.cpu_ms / 1000)
        handed_over = time.monotonic()

        def delivered(_: Message) -> None:
            self.clock.part.latencies.append(time.monotonic() - handed_over)
            self.delivered += 1

        client.send(self.producer, self.load.topic, number, delivered)
        with self.clock.flush():
            self.flush(self.producer)
        if self.delivered != number + 1:
            raise RuntimeError(f"{number + 1} records sent, {self.delivered} delivered after the flush")


class BetweenRecords:
    """The heartbeat of a thread without green threads: other work gets its turn between two records."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.due = time.monotonic() + BEAT_S

    def __call__(self) -> None:
        self.due = self.clock.tick(self.due)


def single(load: Load, ready: Callable[[], None] = lambda: None) -> Part:
    """One thread. `ready` returns when the clock may run."""
    clock = Clock()
    worker = Worker(load, clock, client.create(load.brokers, load.topic), time.sleep, client.flush_blocking)
    ready()
    with clock.running():
        worker.run(BetweenRecords(clock))
    return clock.part


def green(load: Load) -> Part:
    """N green threads on one thread, which a heartbeat shares with them."""
    clock = Clock()
    flush = client.flush_blocking if load.variant == "green-blocking" else client.flush_cooperative(gevent.sleep)
    producers = [client.create(load.brokers, load.topic) for _ in range(1 if load.shared_producer else load.workers)]
    workers = [Worker(load, clock, producers[n % len(producers)], gevent.sleep, flush) for n in range(load.workers)]

    with clock.running():
        beating = gevent.spawn(clock.beat, gevent.sleep)
        gevent.joinall([gevent.spawn(worker.run) for worker in workers], raise_error=True)
        beating.kill()
    return clock.part


def processes(load: Load) -> list[Part]:
    """N processes, each with a producer of its own, created after the fork."""
    forking = multiprocessing.get_context("fork")
    held, release = os.pipe()
    parent = os.getpid()

    def work(results: Connection) -> None:
        die_with_parent(parent)
        os.close(release)

        def ready() -> None:
            results.send(Part())
            os.read(held, 1)  # the end of the pipe comes to all at once

        results.send(single(load, ready))

    def receive(results: Connection) -> Part:
        """A worker's next word: that it is ready, an empty part, then what it measured."""
        try:
            part: Part = results.recv()
            return part
        except EOFError as error:
            raise RuntimeError("a process of this run ended too early (its reason stands above)") from error

    def start() -> Connection:
        own, theirs = forking.Pipe(duplex=False)
        forking.Process(target=work, args=(theirs,)).start()
        theirs.close()
        return own

    ends: list[Connection] = []
    while len(ends) < load.workers:
        batch = [start() for _ in range(min(STARTED_TOGETHER, load.workers - len(ends)))]
        for end in batch:
            receive(end)
        ends += batch
    os.close(release)
    return [receive(end) for end in ends]
