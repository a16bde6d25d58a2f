"""The web scene's load generator: some connections ask for the one route, some for the other, each one request after the other.

Those of the plain route rest between an answer and the next request, so that they don't use up the server by themselves.
"""

from __future__ import annotations

import json
import sys
import time

import gevent
from gevent import socket
from measure import milliseconds


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int, route: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers = self.socket.makefile("rb")
        self.request = f"GET {route} HTTP/1.1\r\nHost: story\r\n\r\n".encode()
        self.latencies: list[float] = []

    def ask(self) -> None:
        """One request and its whole answer."""
        began = time.monotonic()
        self.socket.sendall(self.request)
        status = self.answers.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"the server answered {status!r}")
        length = 0
        while (line := self.answers.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self.answers.read(length)
        self.latencies.append(time.monotonic() - began)

    def ask_until(self, deadline: float, pause: float) -> None:
        """One request after the other, with a rest before each."""
        self.latencies.clear()
        while not self.latencies or time.monotonic() < deadline:
            if pause:
                gevent.sleep(pause)
            self.ask()


def figures(name: str, connections: list[Connection], elapsed: float) -> dict[str, object]:
    latencies = [value for connection in connections for value in connection.latencies]
    return {
        f"{name}_latency_p50_ms": milliseconds(latencies, 0.5),
        f"{name}_latency_p99_ms": milliseconds(latencies, 0.99),
        f"{name}_requests_per_second": round(len(latencies) / elapsed, 3),
    }


def main() -> None:
    port, clients, others = (int(word) for word in sys.argv[1:4])
    pause, seconds = float(sys.argv[4]), float(sys.argv[5])
    produce = [Connection(port, "/produce") for _ in range(clients)]
    plain = [Connection(port, "/plain") for _ in range(others)]
    for connection in produce + plain:
        connection.ask()  # every connection is open and served before the clock runs
    Connection(port, "/begin").ask()
    began = time.monotonic()
    asking = [gevent.spawn(connection.ask_until, began + seconds, 0) for connection in produce]
    asking += [gevent.spawn(connection.ask_until, began + seconds, pause) for connection in plain]
    gevent.joinall(asking, raise_error=True)
    elapsed = time.monotonic() - began
    Connection(port, "/end").ask()
    print(json.dumps({"elapsed_ms": round(elapsed * 1000, 3), **figures("produce", produce, elapsed),
                      **figures("plain", plain, elapsed)}))


if __name__ == "__main__":
    main()
