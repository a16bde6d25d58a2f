"""A network between a client and a broker on loopback: answers come later, and requests of all connections together go through at no
more than a rate. A cable has both by nature; this one is a program on the same machine, so its rate has to be far below what it can
copy, and it delays answers only: a client that waits for answers can't tell the difference."""

import queue
import socket
import threading
import time

PIECE = 64 << 10


class Network:
    def __init__(self, round_trip_s, bytes_per_second):
        self.delay, self.rate = round_trip_s, bytes_per_second
        self.free_at, self.lock = 0.0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.target = None

    def connect_to(self, address):
        host, port = address.rsplit(":", 1)
        self.target = (host, int(port))
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            broker = socket.create_connection(self.target)
            for connection in (client, broker):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = queue.SimpleQueue()
            for work in ((self.carry, client, broker), (self.hold, broker, answers), (self.give, client, answers)):
                threading.Thread(target=work[0], args=work[1:], daemon=True).start()

    def carry(self, client, broker):
        """Requests, at the rate that all connections share."""
        try:
            while piece := client.recv(PIECE):
                with self.lock:
                    start = max(self.free_at, time.monotonic())
                    self.free_at = start + len(piece) / self.rate
                time.sleep(max(0.0, self.free_at - time.monotonic()))
                broker.sendall(piece)
            broker.shutdown(socket.SHUT_WR)
        except OSError:
            broker.close()

    def hold(self, broker, answers):
        try:
            while piece := broker.recv(PIECE):
                answers.put((time.monotonic() + self.delay, piece))
        except OSError:
            pass
        answers.put((0.0, b""))

    def give(self, client, answers):
        try:
            while (found := answers.get())[1]:
                time.sleep(max(0.0, found[0] - time.monotonic()))
                client.sendall(found[1])
            client.shutdown(socket.SHUT_WR)
        except OSError:
            client.close()
