"""The listening sockets of a process, which stay open from their first use to its end, whatever answers on them."""

import socket

from api.server.server import listening_socket
from engine.config.settings import Settings


class Ports:
    """The port of the API and the port of telemetry. A context: it closes them.

    A server closes the socket that it gets, so each server gets a copy.
    """

    def __init__(self, settings: Settings) -> None:
        self._server = settings.server
        self._sockets: dict[str, socket.socket] = {}

    def __enter__(self) -> "Ports":
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._sockets.values():
            listener.close()

    def api(self) -> socket.socket:
        """Return a copy of the socket of the API. Raises: AddressUnavailable."""
        return self._copy(self._server.host, self._server.port, "server.port")

    def telemetry(self) -> socket.socket | None:
        """Return a copy of the socket for telemetry, or None if there is no such port. Raises: AddressUnavailable."""
        if self._server.telemetry_port is None:
            return None
        return self._copy(self._server.telemetry_host, self._server.telemetry_port, "server.telemetry_port")

    def _copy(self, host: str, port: int, setting: str) -> socket.socket:
        if setting not in self._sockets:
            self._sockets[setting] = listening_socket(host, port, setting)
        return self._sockets[setting].dup()
