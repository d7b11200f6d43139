"""The ports of a process: one for the API if it serves it, and one for telemetry if the settings ask for it.

Owns: one server for each port, from its first use to the end of the process. What answers on it may change meanwhile,
and no connection is lost by that.
"""

import contextlib
import logging
import threading
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from api.server.server import HttpServer, listening_socket, uvicorn_config
from engine.config.settings import Settings

logger = logging.getLogger("meterport")
API, TELEMETRY = "api", "telemetry"


class Ports:
    """The ports of one process. A context: it ends their servers.

    `on_failure` is called, by another thread, if the server of the API ends by itself.
    """

    def __init__(self, settings: Settings, on_failure: Callable[[], None]) -> None:
        self._settings = settings
        self._servers: dict[str, _PortServer] = {}
        self._on_failure = on_failure

    def __enter__(self) -> "Ports":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.http.should_exit = True
        for server in self._servers.values():
            server.thread.join()

    def answer(
        self, port: str, app: ASGIApp, purpose: str, on_listening: Callable[[int], None] = lambda _: None
    ) -> None:
        """Let an application answer on a port from now on. Nothing happens if the settings name no port of telemetry.

        Args: port: API or TELEMETRY. purpose: what the log says that the port is for. on_listening: is called with the
            number of the port. Raises: AddressUnavailable.
        """
        if port == TELEMETRY and self._settings.server.telemetry_port is None:
            return
        if port in self._servers:
            self._servers[port].switch.app = app
            self._servers[port].http.announce(purpose, on_listening)
        else:
            on_failure = self._on_failure if port == API else lambda: None
            self._servers[port] = _PortServer(self._settings, port, app, purpose, on_listening, on_failure)

    def complete_requests(self) -> None:
        """Take no more requests of the API, and complete the open ones. Raises: what ended the server by itself."""
        server = self._servers[API]
        server.http.should_exit = True
        server.thread.join()
        if server.failure is not None:
            raise server.failure


class _Switch:
    """An ASGI application that passes each request on to the current one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class _PortServer:
    """The server of a port, in a thread."""

    def __init__(
        self,
        settings: Settings,
        port: str,
        app: ASGIApp,
        purpose: str,
        on_listening: Callable[[int], None],
        on_failure: Callable[[], None],
    ) -> None:
        own = settings.server
        host, number, setting = (
            (own.host, own.port, "server.port")
            if port == API
            else (own.telemetry_host, own.telemetry_port or 0, "server.telemetry_port")
        )
        self.switch = _Switch(app)
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        config = uvicorn_config(self.switch, host, number, settings, port)
        self.http = HttpServer(config, purpose, on_listening)
        self._listener = listening_socket(host, number, setting)
        self.thread = threading.Thread(target=self._run, name=port, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with contextlib.closing(self._listener):
            try:
                self.http.run([self._listener])
            except BaseException as error:
                logger.critical("server_failed port=%s error=%s", self.thread.name, error, exc_info=True)
                self.failure = error
                self._on_failure()
