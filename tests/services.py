"""What the tests' own services are started with: ports that stay theirs, and a docker that answers.

Used by tests/broker.py (Kafka) and tests/clickhouse.py (ClickHouse).
"""

import secrets
import shutil
import socket
import subprocess
from contextlib import ExitStack


class Unavailable(Exception):
    """This kind of service cannot be had on this machine; says why."""


def free_ports(count: int) -> list[int]:
    """Return free loopback ports below the range the kernel hands out.

    A port of that range could be taken by anyone while its service is down for a restart; even by a client of ours
    that tries to reconnect to it, for on loopback a socket can be connected to itself.
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


def need_docker() -> None:
    """Ask whether a docker engine answers.

    By the command: the library leaves a socket open where no engine answers, which is an error in our tests.
    Raises: Unavailable.
    """
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "version"], capture_output=True, check=False).returncode
    ):
        raise Unavailable("no docker engine answers")
