"""Requests that ask for another protocol (`Upgrade: websocket`, `h2c`), as the requests they are without that wish.

Java's own client asks for h2c with its first request on a plain connection, whatever body it has. httptools takes such
a request for one without a body, and the body for the next request: events were lost, a body could hold a request.
Source: RFC 9110 §7.8: a server may pass over the wish, and then answers in HTTP/1.1.
"""

from collections.abc import Iterable

_FIELDS = frozenset({b"upgrade", b"http2-settings"})


def plain_head(method: bytes, url: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request without its wish for another protocol. Args: headers: names in lower case."""
    lines = [b"%s %s HTTP/%s" % (method, url, version)]
    for name, value in headers:
        if name == b"connection":
            kept = [option for option in value.split(b",") if option.strip().lower() not in _FIELDS]
            lines += [b"connection: " + b",".join(kept)] if kept else []
        elif name not in _FIELDS:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])
