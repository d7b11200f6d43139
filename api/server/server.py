"""The HTTP server of a process: uvicorn, which the process stops, and which reports where it listens."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from api.server.connections import Connections, Limits
from api.server.descriptors import connections_share
from api.server.http_protocol import BoundedProtocol
from api.server.staged_protocol import HttpConfig
from engine.config.settings import Settings
from engine.errors import AddressUnavailable
from engine.logging_setup import OncePerMinute

logger = logging.getLogger(__name__)
_TELEMETRY_CONNECTIONS = 32  # for Prometheus and probes, whatever happens on the main port


class _WarningsOnce(OncePerMinute):
    """A filter that passes errors always, and warnings, which clients can cause, once a minute."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or super().filter(record)


logging.getLogger("uvicorn.error").addFilter(_WarningsOnce())


class HttpServer(uvicorn.Server):
    """A server that reports where it listens, and that a signal handler or another thread can stop.

    uvicorn's own signal handlers raise the signal again after the server has stopped. Therefore they are not installed:
    our handlers let `serve` return, so that the process can drain its log before it ends.
    """

    def __init__(
        self, config: uvicorn.Config, purpose: str = "api", on_listening: Callable[[int], None] = lambda _: None
    ) -> None:
        """Args: purpose: the port, named in the log. on_listening: called with the port once the server listens."""
        super().__init__(config)
        self._purpose = purpose
        self._on_listening = on_listening
        self._listeners: list[socket.socket] = []  # set once it listens
        self._lock = threading.Lock()  # around the three above

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and self.started:  # uvicorn logs only sockets that it opened itself.
            with self._lock:
                self._listeners = sockets
                self._log_started_message(sockets)

    def announce(self, purpose: str, on_listening: Callable[[int], None]) -> None:
        """Report again where it listens, as soon as it does: what answers has changed. See `__init__` for the rest."""
        with self._lock:
            self._purpose, self._on_listening = purpose, on_listening
            self._log_started_message(self._listeners)

    def _log_started_message(self, listeners: Any) -> None:
        for listener in listeners:
            host, port = listener.getsockname()[:2]
            self._on_listening(port)
            logger.info("listening url=http://%s:%d for=%s", host, port, self._purpose)


def listening_socket(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket. Args: setting: the setting that names the port. Raises: AddressUnavailable."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=connections_share().backlog)
    except OSError as error:
        raise AddressUnavailable(f"{setting}: cannot listen on {host}:{port}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return str(error.strerror or error).partition(" (")[0]  # socket.create_server adds the address in parentheses.


def uvicorn_config(application: ASGIApp, host: str, port: int, settings: Settings, purpose: str = "api") -> HttpConfig:
    """Return the configuration of a server. Args: purpose: "api" or "telemetry"; each has its own connection table."""
    server, share = settings.server, connections_share()
    most = _TELEMETRY_CONNECTIONS if purpose == "telemetry" else server.max_connections or share.connections
    return HttpConfig(
        application,
        BoundedProtocol,
        connections=Connections(Limits.of(server, most), purpose),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        backlog=share.backlog,
        timeout_graceful_shutdown=server.shutdown_seconds,
        workers=1,  # Otherwise uvicorn reads WEB_CONCURRENCY, which platforms set, and fails if it is not a number.
    )
