"""The CloudEvent of an HTTP request in binary mode, as structured JSON.

Owns: how headers become attributes in the HTTP protocol binding. `ce-` headers are the attributes, the content type is
`datacontenttype` (without one the data is JSON), the body is `data`. Values may be quoted strings, and are then decoded
once from percent-encoding; what comes out must be UTF-8. Structured and batched mode are known by their content types,
so api/routes/events.py tells the modes apart.
Source: CloudEvents HTTP protocol binding 1.0.2, 3.1.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from engine.errors import InvalidEvent
from engine.events.binary_mode import check_required, event_json
from engine.events.cloudevents import is_json

PREFIX = "ce-"
_CONTENT_TYPE = "content-type"
_KIND = "datacontenttype"
_NAME = re.compile(r"[a-z0-9]+\Z")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"\Z', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_MODE = f"a request with {PREFIX} headers is one CloudEvent in binary mode"


def has_attributes(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether any header is an attribute of a CloudEvent. Names are in lower case, as ASGI gives them."""
    return any(name.startswith(PREFIX.encode()) for name, _ in headers)


def binary_event(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return the JSON of the event that headers and body are.

    Raises: InvalidEvent: the reason, naming the header or the attribute at fault.
    """
    attributes: dict[str, str] = {}
    kinds: list[str] = []
    for raw_name, value in headers:
        header = raw_name.decode("latin-1")
        if header == _CONTENT_TYPE:
            kinds.append(value.decode("latin-1").strip())
        elif header.startswith(PREFIX):
            name = _attribute(header)
            if name in attributes:
                raise InvalidEvent(f"header {header} is there twice", name)
            attributes[name] = _text(header, value)
    kind = _content_type(kinds, attributes.pop(_KIND, ""))
    if kind:
        attributes[_KIND] = kind
    try:
        check_required(attributes, PREFIX)
    except InvalidEvent as error:
        raise InvalidEvent(f"{error}: {_MODE}", error.field) from None
    if body.lstrip(b" \t\r\n").startswith(b"["):
        raise InvalidEvent(f"data must be a JSON object or null, not an array: {_MODE}, its body is data", "data")
    return event_json(attributes, body)


def _content_type(kinds: list[str], attribute: str) -> str:
    """Return the media type of the data, "" if none is given. Raises: InvalidEvent: it is not JSON, or there are two.

    The binding forbids a `ce-datacontenttype`. One that says the same as the content type does no harm.
    """
    if len(kinds) > 1:
        raise InvalidEvent(f"header {_CONTENT_TYPE} is there twice")
    kind = kinds[0] if kinds else ""
    if kind and attribute and kind.lower() != attribute.lower():
        raise InvalidEvent(f"headers {_CONTENT_TYPE} and {PREFIX}{_KIND} differ", _KIND)
    kind = kind or attribute
    if kind and not is_json(kind):
        raise InvalidEvent(f"header {_CONTENT_TYPE} must name a type of JSON, not {kind[:80]!r}: {_MODE}", _KIND)
    return kind


def _attribute(header: str) -> str:
    name = header.removeprefix(PREFIX)
    if name == "data" or not _NAME.match(name):
        raise InvalidEvent(f"header {header[:80]!r} names no attribute")
    return name


def _text(header: str, value: bytes) -> str:
    quoted = _QUOTED.match(value)
    plain = _QUOTED_PAIR.sub(rb"\1", quoted[1]) if quoted else value
    try:
        return unquote_to_bytes(plain).decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"header {header} is not UTF-8 in percent-encoding: {error.reason}") from None
