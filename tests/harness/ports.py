"""Ports that stay free while a service of the tests restarts."""

import secrets
import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Return free loopback ports below the range from which the kernel assigns ports.

    While a service restarts, any program could get a port of the kernel's range. Even our own client that tries to
    reconnect could get it, because on loopback a socket can connect to itself.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = 20_000 + secrets.randbelow(12_000)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports
