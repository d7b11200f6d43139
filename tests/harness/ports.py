"""Ports that stay free for a service of the tests, also before its start and while it restarts."""

import secrets
import socket

LOOPBACK = "127.0.0.1"
# They are below the range from which the kernel assigns ports. While a service restarts, any program could get a port
# of that range. Even our own client that tries to reconnect could get it, because on loopback a socket can connect to
# itself.
FIRST_PORT, PORTS = 20_000, 12_000
_reserved: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Return free loopback ports. Until this process ends, no other call returns them, in whatever process.

    A datagram socket at the same number reserves a port: it does not keep a service from listening there.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        reservation = socket.socket(type=socket.SOCK_DGRAM)
        try:
            reservation.bind((LOOPBACK, port))
            with socket.socket() as probe:
                probe.bind((LOOPBACK, port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        ports.append(port)
    return ports
