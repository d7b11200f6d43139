"""Requests to upgrade to another protocol (`Upgrade: websocket`, `h2c`): they are handled as plain HTTP/1.1 requests.

Java's standard HTTP client asks for h2c in its first request on a plain connection, even if the request has a body.
httptools parses such a request as one without a body, and the body as the next request: events would be lost, and a
body could contain another request. So api/server/http_protocol.py gives such a request to httptools again, with the
head that this module writes.
Source: RFC 9110 §7.8: a server may ignore the upgrade and answer in HTTP/1.1.
"""

from collections.abc import Iterable

_FIELDS = frozenset({b"upgrade", b"http2-settings"})


def plain_head(method: bytes, url: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request without the fields for an upgrade. Args: headers: with names in lower case."""
    lines = [b"%s %s HTTP/%s" % (method, url, version)]
    for name, value in headers:
        if name == b"connection":
            kept = [option for option in value.split(b",") if option.strip().lower() not in _FIELDS]
            lines += [b"connection: " + b",".join(kept)] if kept else []
        elif name not in _FIELDS:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])
