"""Addresses of servers: the URL of one on this machine, and whether a URL names this machine.

Owns: the judgement of a URL that stands in a file: the API key is sent there, so the file must not name any other host.
"""

import ipaddress
import socket
from urllib.parse import urlsplit


def is_of_this_machine(url: str) -> bool:
    """Whether the host of a URL is an address of this machine, or `localhost`; another name is not looked up."""
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
            probe.bind((host, 0))  # only addresses of this machine can be bound
    except OSError:
        return False
    return True


def local_url(host: str, port: int) -> str:
    """Return the URL at which a server bound to `host` is reached from its own machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
