"""HTTP byte by byte: an application behind the real HTTP server, and a client that is only a socket."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from prometheus_client import Counter, Gauge
from starlette.types import ASGIApp

from api.server.server import HttpServer, uvicorn_config
from engine.config.server_settings import ServerSettings
from engine.config.settings import Settings
from engine.metrics import CONNECTIONS_ENDED

TIMEOUT_SECONDS = 120  # how long a test waits for an answer or a condition


@dataclass(frozen=True)
class Answer:
    """One answer. `closed`: the server closed its side after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool = False

    def problem(self) -> tuple[int, str]:
        """Check that the answer is a complete problem, and return its status and code."""
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.headers["cache-control"] == "no-store"
        problem = orjson.loads(self.body)
        assert problem["status"] == self.status
        assert problem["detail"] == problem["message"]
        return self.status, problem["code"]


@dataclass
class Raw:
    """A connection of a client."""

    port: int
    receive_buffer: int = 0
    _received: bytearray = field(default_factory=bytearray, init=False)

    def __post_init__(self) -> None:
        self.socket = socket.socket()
        if self.receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.socket.connect(("127.0.0.1", self.port))

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, request: bytes) -> Answer:
        self.send(request)
        return self.read()

    def read(self, method: str = "GET", until_closed: bool = False) -> Answer:
        """Read one answer. Args: until_closed: also wait until the server has closed its side."""
        while b"\r\n\r\n" not in self._received:
            assert self.more(), f"closed before an answer: {self._received[:200]!r}"
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = dict(line.decode().lower().split(": ", 1) for line in lines)
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        while len(self._received) < length:
            assert self.more(), "closed within an answer"
        body, self._received = bytes(self._received[:length]), self._received[length:]
        closed = until_closed and self.closed()
        return Answer(int(status.split()[1]), headers, body, closed)

    def closed(self) -> bool:
        """Wait until the server closes its side. Return whether it did so without a reset and without further data."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            return False
        return not self._received

    def more(self) -> bool:
        """Wait for more data. Return False if the server has closed its side instead."""
        chunk = self.socket.recv(65536)
        self._received += chunk
        return bool(chunk)


@contextlib.contextmanager
def serving(app: ASGIApp, purpose: str = "api", drained_bytes: int = 0, **server: Any) -> Iterator[HttpServer]:
    """Serve an application on a free port in a thread. The keyword arguments are settings of the group `server`."""
    settings = Settings.model_construct(server=ServerSettings(**server))
    config = uvicorn_config(app, "127.0.0.1", 0, settings, purpose)
    if drained_bytes:
        config.connections.limits = replace(config.connections.limits, drained_bytes=drained_bytes)
    listening = threading.Event()
    ports: list[int] = []

    def on_listening(port: int) -> None:
        ports.append(port)
        listening.set()

    running = HttpServer(config, on_listening=on_listening)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        assert listening.wait(TIMEOUT_SECONDS)
        running.port = ports[0]  # type: ignore[attr-defined]
        yield running
    finally:
        running.should_exit = True
        thread.join()


def port_of(server: HttpServer) -> int:
    return int(server.port)  # type: ignore[attr-defined]


def value_of(metric: Counter | Gauge) -> float:
    """Return the value of a metric without labels, or of one of its children."""
    return float(next(iter(metric.collect())).samples[0].value)


def connections_ended(reason: str) -> float:
    """Return how many connections were ended for a reason since the process started."""
    return value_of(CONNECTIONS_ENDED.labels(reason))


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until `holds()` is true. Raises: AssertionError: with `what`, after TIMEOUT_SECONDS."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_SECONDS} s: {what}"
        time.sleep(0.02)
