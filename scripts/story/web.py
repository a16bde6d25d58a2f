"""The web scene's server: one process, one thread, a route that waits for its record's delivery, and a plain one."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import client
import gevent
from confluent_kafka import Message, Producer
from gevent import socket, subprocess
from gevent.pywsgi import WSGIServer
from measure import Clock, figures

Respond = Callable[[str, "list[tuple[str, str]]"], object]


@dataclass(frozen=True)
class WebLoad:
    """What is asked of a run."""

    variant: str
    flush: str
    shared_producer: bool
    clients: int
    others: int
    pause_ms: float
    seconds: float
    brokers: str
    topic: str


class Site:
    """The two routes. A request takes a producer of the pool for itself; a shared one is for all at once."""

    def __init__(self, load: WebLoad, clock: Clock) -> None:
        self.load, self.clock = load, clock
        self.flush = client.flush_blocking if load.flush == "blocking" else client.flush_cooperative(gevent.sleep)
        self.producers = [client.create(load.brokers, load.topic) for _ in range(1 if load.shared_producer else load.clients)]
        self.numbers = itertools.count()
        self.beating: gevent.Greenlet | None = None

    def __call__(self, request: dict[str, str], respond: Respond) -> Iterable[bytes]:
        routes = {"/produce": self.produce, "/plain": lambda: b"plain\n", "/begin": self.begin, "/end": self.end}
        body = routes[request["PATH_INFO"]]()
        respond("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    def begin(self) -> bytes:
        """The load generator is warm: the clock runs from here on."""
        self.clock.begin()
        self.beating = gevent.spawn(self.clock.beat, gevent.sleep)
        return b"ok\n"

    def end(self) -> bytes:
        self.clock.end()
        gevent.kill(self.beating)
        return b"ok\n"

    def produce(self) -> bytes:
        producer = self.producers[0] if self.load.shared_producer else self.producers.pop()
        try:
            return self.deliver(producer)
        finally:
            if not self.load.shared_producer:
                self.producers.append(producer)

    def deliver(self, producer: Producer) -> bytes:
        delivered: list[Message] = []
        client.send(producer, self.load.topic, next(self.numbers), delivered.append)
        with self.clock.flush():
            self.flush(producer)
        (message,) = delivered  # the answer says where the record is, so it must be there
        return f"{message.partition()} {message.offset()}\n".encode()


def serve(load: WebLoad) -> dict[str, object]:
    """Serves the load generator, which is a process of its own, and returns its figures with the server's."""
    clock = Clock()
    site = Site(load, clock)
    with WSGIServer(("127.0.0.1", 0), site, log=None) as server:
        server.start()
        # Accepted sockets inherit it. Without, an answer in two writes waits 40 ms for the client's delayed acknowledgement.
        server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        generator = [sys.executable, Path(__file__).with_name("web_clients.py"), server.server_port, load.clients, load.others,
                     load.pause_ms / 1000, load.seconds]
        answer = subprocess.run([str(word) for word in generator], stdout=subprocess.PIPE, check=True).stdout
    return {**figures([clock.part]), "records": next(site.numbers), **json.loads(answer)}
