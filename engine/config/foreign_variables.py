"""Which METERPORT_* variables somebody else has set: they are passed over, every other one must be a setting.

Owns: the shapes of the variables Kubernetes injects into every pod for each Service of its namespace
(`enableServiceLinks`, on by default), here for a Service named `meterport` or `meterport-…`, and the few names that
images and deployments commonly set. The shape of the value is looked at too, so that a mistyped setting, as
METERPORT_SERVER_PORT=9000, or METERPORT_SERVICE_HOST=0.0.0.0, is still an error.
Limits: files of METERPORT_SECRETS_DIR are not judged here: nobody else puts files there. A Service whose name holds two
dashes in a row is not known: its variables look like those of a group.
Source: kubelet's environment variables of Services; Docker container links, whose shapes they keep.
"""

import ipaddress
import re
from collections.abc import Callable

_SERVICE = r"METERPORT(?:_[A-Z0-9]+)*?"  # as METERPORT, METERPORT_API, METERPORT_KAFKA
_LINKED = _SERVICE + r"_PORT_(?P<port>\d{1,5})_(?P<protocol>TCP|UDP|SCTP)"
_URL = re.compile(r"(tcp|udp|sctp)://(\[[^\]]+\]|[^:/]+):(\d{1,5})")
_RELEASE_NAMES = frozenset(f"METERPORT_{name}" for name in ("VERSION", "IMAGE", "IMAGE_TAG", "TAG"))


def is_foreign(name: str, value: str) -> bool:
    """Whether a variable has the name and the value of one that Kubernetes or an image sets."""
    if name in _RELEASE_NAMES:
        return True
    return any(found(value) for shape, found in _SHAPES if shape.fullmatch(name))


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdigit() and 0 < int(value) <= 65535


def _is_address(value: str) -> bool:
    """Whether a value is an address a Service can have: nobody reaches one at 0.0.0.0."""
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


_SHAPES: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (re.compile(_SERVICE + r"_SERVICE_HOST"), _is_address),
    (re.compile(_SERVICE + r"_SERVICE_PORT(?:_[A-Z0-9_]*[A-Z0-9])?"), _is_port),
    (re.compile(_SERVICE + r"_PORT"), _is_url),
    (re.compile(_LINKED), _is_url),
    (re.compile(_LINKED + r"_PROTO"), _is_protocol),
    (re.compile(_LINKED + r"_PORT"), _is_port),
    (re.compile(_LINKED + r"_ADDR"), _is_address),
)
