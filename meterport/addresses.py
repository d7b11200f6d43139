"""Addresses of servers: the URL of a server on this machine, and whether a URL names this machine.

Owns: the check of the URL in the lock file of a data directory. The API key is sent to this URL, so it must not name
any other host.
"""

import ipaddress
import socket
from urllib.parse import urlsplit


def is_local_url(url: str) -> bool:
    """Return whether the host of a URL is an IP address of this machine, or `localhost`. No names are resolved."""
    try:
        host = urlsplit(url).hostname or ""
        if host == "localhost":
            return True
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))  # Only addresses of this machine can be bound.
    except OSError:
        return False
    return True


def local_url(host: str, port: int) -> str:
    """Return the URL at which programs on the same machine reach a server that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
