"""Which METERPORT_* variables were set by Kubernetes or by an image. They are ignored; all others must be settings.

Owns: the patterns of the variables that Kubernetes adds to every pod for each Service of its namespace
(`enableServiceLinks`, on by default), for a Service named `meterport` or `meterport-…`, and the few names that images
and deployments commonly set. The value must match too, so that a mistyped setting is still an error, for example
METERPORT_SERVER_PORT=9000 or METERPORT_SERVICE_HOST=0.0.0.0.
Limits: the files of METERPORT_SECRETS_DIR are not checked here, because only the operator puts files there. A Service
with two dashes in a row in its name is not recognised: its variables look like settings of a group.
Source: kubelet's environment variables of Services; Docker container links, which have the same form.
"""

import ipaddress
import re
from collections.abc import Callable

_SERVICE = r"METERPORT(?:_[A-Z0-9]+)*?"  # For example METERPORT, METERPORT_API, METERPORT_KAFKA.
_LINKED = _SERVICE + r"_PORT_(?P<port>\d{1,5})_(?P<protocol>TCP|UDP|SCTP)"
_URL = re.compile(r"(tcp|udp|sctp)://(\[[^\]]+\]|[^:/]+):(\d{1,5})")
_RELEASE_NAMES = frozenset(f"METERPORT_{name}" for name in ("VERSION", "IMAGE", "IMAGE_TAG", "TAG"))


def is_injected(name: str, value: str) -> bool:
    """Return whether Kubernetes or an image has set a variable, as both its name and its value show."""
    if name in _RELEASE_NAMES:
        return True
    return any(matches(value) for pattern, matches in _PATTERNS if pattern.fullmatch(name))


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdigit() and 0 < int(value) <= 65535


def _is_address(value: str) -> bool:
    """Return whether a value is an address that a Service can have. 0.0.0.0 is not one: it cannot be reached."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return not address.is_unspecified


def _is_url(value: str) -> bool:
    found = _URL.fullmatch(value)
    return found is not None and _is_address(found[2].strip("[]")) and _is_port(found[3])


def _is_protocol(value: str) -> bool:
    return value in {"tcp", "udp", "sctp"}


_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (re.compile(_SERVICE + r"_SERVICE_HOST"), _is_address),
    (re.compile(_SERVICE + r"_SERVICE_PORT(?:_[A-Z0-9_]*[A-Z0-9])?"), _is_port),
    (re.compile(_SERVICE + r"_PORT"), _is_url),
    (re.compile(_LINKED), _is_url),
    (re.compile(_LINKED + r"_PROTO"), _is_protocol),
    (re.compile(_LINKED + r"_PORT"), _is_port),
    (re.compile(_LINKED + r"_ADDR"), _is_address),
)
