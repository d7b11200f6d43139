"""The HTTP server a process runs: uvicorn, told when to end by us, and saying where it listens."""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from api.server.connections import Connections, Limits
from api.server.descriptors import connections_share
from api.server.http_protocol import BoundedProtocol
from api.server.staged_protocol import HttpConfig
from engine.config.settings import Settings
from engine.errors import AddressUnavailable
from engine.logging_setup import SaidOnce

logger = logging.getLogger(__name__)
_TELEMETRY_CONNECTIONS = 32  # Prometheus and the probes: whatever happens on the other port


class _WarningsOnce(SaidOnce):
    """What a client can cause is said once a minute; a defect each time."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or super().filter(record)


logging.getLogger("uvicorn.error").addFilter(_WarningsOnce())


class HttpServer(uvicorn.Server):
    """A server that says where it listens and ends when told, by a signal's handler or another thread.

    `purpose` is said with it.
    uvicorn's own handlers raise the signal again once it has stopped; ours leave the end to `serve`, which drains.
    """

    def __init__(
        self, config: uvicorn.Config, purpose: str = "api", when_listening: Callable[[int], None] = lambda _: None
    ) -> None:
        """Args: when_listening: told the port."""
        super().__init__(config)
        self._purpose = purpose
        self._when_listening = when_listening

    def end(self, reason: str = "failure") -> None:
        logger.info("stopping reason=%s", reason)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and self.started:  # of sockets it did not open it says nothing
            self._log_started_message(sockets)

    def _log_started_message(self, listeners: Any) -> None:
        for listener in listeners:
            host, port = listener.getsockname()[:2]
            self._when_listening(port)
            logger.info("listening url=http://%s:%d for=%s", host, port, self._purpose)


def bound(host: str, port: int, setting: str) -> socket.socket:
    """Return a socket that listens. Args: setting: what names the port. Raises: AddressUnavailable."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=connections_share().backlog)
    except OSError as error:
        raise AddressUnavailable(f"{setting}: cannot listen on {host}:{port}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return str(error.strerror or error).partition(" (")[0]  # the library says the address once more


def uvicorn_config(
    application: Starlette, host: str, port: int, settings: Settings, purpose: str = "api"
) -> HttpConfig:
    """Return how an application is served. Args: purpose: "api" or "telemetry", each with connections of its own."""
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
        workers=1,  # else uvicorn reads WEB_CONCURRENCY, which platforms set, and fails where it is not a number
    )
