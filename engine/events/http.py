"""The conversion of an HTTP request in binary mode to the JSON of a structured-mode CloudEvent.

Owns: how headers become attributes in the HTTP protocol binding. `ce-` headers are the attributes, the content type is
`datacontenttype` (without a content type the data is JSON), and the body is `data`. A value may be a quoted string. It
is then decoded once from percent-encoding, and the result must be UTF-8. Structured and batched mode have content types
of their own, by which api/routes/events.py distinguishes the modes.
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
_DATA_CONTENT_TYPE = "datacontenttype"
_NAME = re.compile(r"[a-z0-9]+\Z")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"\Z', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_MODE_HINT = f"a request with {PREFIX} headers is one CloudEvent in binary mode"


def has_attributes(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether any header is an attribute of a CloudEvent. Header names are in lower case, as in ASGI."""
    return any(name.startswith(PREFIX.encode()) for name, _ in headers)


def binary_event(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return the JSON of the event that headers and body represent.

    Raises: InvalidEvent: the message names the invalid header or attribute.
    """
    attributes: dict[str, str] = {}
    content_types: list[str] = []
    for raw_name, value in headers:
        header = raw_name.decode("latin-1")
        if header == _CONTENT_TYPE:
            content_types.append(value.decode("latin-1").strip())
        elif header.startswith(PREFIX):
            name = _attribute_name(header)
            if name in attributes:
                raise InvalidEvent(f"header {header} appears twice", name)
            attributes[name] = _decode_value(header, value)
    content_type = _choose_content_type(content_types, attributes.pop(_DATA_CONTENT_TYPE, ""))
    if content_type:
        attributes[_DATA_CONTENT_TYPE] = content_type
    try:
        check_required(attributes, PREFIX)
    except InvalidEvent as error:
        raise InvalidEvent(f"{error}: {_MODE_HINT}", error.field) from None
    if body.lstrip(b" \t\r\n").startswith(b"["):
        raise InvalidEvent(
            f"data must be a JSON object or null, not an array: {_MODE_HINT}, and its body is the data", "data"
        )
    return event_json(attributes, body)


def _choose_content_type(content_types: list[str], attribute: str) -> str:
    """Return the media type of the data, or "" if none is given.

    The binding forbids a `ce-datacontenttype`; it is accepted if it equals the content type.
    Raises: InvalidEvent: the type is not JSON, or two different types are given.
    """
    if len(content_types) > 1:
        raise InvalidEvent(f"header {_CONTENT_TYPE} appears twice")
    content_type = content_types[0] if content_types else ""
    if content_type and attribute and content_type.lower() != attribute.lower():
        raise InvalidEvent(f"headers {_CONTENT_TYPE} and {PREFIX}{_DATA_CONTENT_TYPE} differ", _DATA_CONTENT_TYPE)
    content_type = content_type or attribute
    if content_type and not is_json(content_type):
        raise InvalidEvent(
            f"header {_CONTENT_TYPE} must name a type of JSON, not {content_type[:80]!r}: {_MODE_HINT}",
            _DATA_CONTENT_TYPE,
        )
    return content_type


def _attribute_name(header: str) -> str:
    name = header.removeprefix(PREFIX)
    if name == "data" or not _NAME.match(name):
        raise InvalidEvent(f"header {header[:80]!r} names no attribute")
    return name


def _decode_value(header: str, value: bytes) -> str:
    quoted = _QUOTED.match(value)
    plain = _QUOTED_PAIR.sub(rb"\1", quoted[1]) if quoted else value
    try:
        return unquote_to_bytes(plain).decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"header {header} is not UTF-8 in percent-encoding: {error.reason}") from None
