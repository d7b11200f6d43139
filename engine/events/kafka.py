"""The conversion of a Kafka record to the JSON of a structured-mode CloudEvent.

Owns: the content modes of the Kafka protocol binding, and how they are distinguished. A content type that begins with
`application/cloudevents` means structured mode, of whose event formats only JSON is accepted. Binary mode has at least
five `ce_` headers, so a record without any is in structured mode too, unless its content type is not a type of JSON.
Every other record is in binary mode: its `ce_` headers are the attributes, and its value is `data`. There is no batched
mode.
The case of header names is ignored. Header values are UTF-8 and are taken literally, including percent signs (only the
HTTP binding has percent-encoding). A header without a value is treated as absent. A record whose attributes have the
header names of the HTTP binding (`ce-id`) is refused, because its value is probably not the event.
engine/events/cloudevents.py decides whether an event is valid. engine/events/binary_mode.py has the part of binary mode
that all bindings share. engine/events/unreadable.py recognizes values that are not JSON.
Source: CloudEvents Kafka protocol binding 1.0.2; docs/contract.md 3.5; docs/design.md R4 (an accepted event is stored).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from engine.errors import InvalidEvent
from engine.events.binary_mode import check_required, event_json
from engine.events.cloudevents import check_content_type, is_json
from engine.events.media_types import SINGLE
from engine.events.unreadable import json_text

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

_CONTENT_TYPE = "content-type"
_PREFIX = "ce_"
_NAME = re.compile(r"[a-z0-9]+\Z")
_DATA_CONTENT_TYPE = "ce_datacontenttype"
_HTTP_NAMES = {f"ce-{name}": name for name in ("id", "source", "type", "subject", "specversion")}


def to_structured_json(value: bytes | None, headers: Headers | None) -> bytes:
    """Return the JSON of a record's event. In structured mode it is the value without a byte order mark.

    Raises: InvalidEvent: the message names the invalid header or attribute.
    """
    named = [(_standard_name(name), text) for name, text in headers if text is not None] if headers else []
    relevant = [(name, text) for name, text in named if name]
    if relevant and not _is_structured(relevant):
        return _from_binary_mode(value, relevant)
    text = json_text(value, "the value") if value else b""
    if not text:
        raise InvalidEvent("the record has no value")
    return text


@lru_cache(maxsize=256)
def _standard_name(header: str) -> str:
    """Return the name of a header in lower case if a binding defines it, and "" otherwise."""
    name = header.lower()
    return name if name == _CONTENT_TYPE or name.startswith(_PREFIX) or name in _HTTP_NAMES else ""


def _is_structured(headers: Sequence[tuple[str, bytes]]) -> bool:
    """Return whether the value is the event. Raises: InvalidEvent: the headers fit neither mode."""
    types = [_decode_text(name, text) for name, text in headers if name == _CONTENT_TYPE]
    if len(types) > 1:
        raise InvalidEvent(f"header {_CONTENT_TYPE} appears twice")
    media_type = _media_type(types[0]) if types else ""
    if media_type.startswith("application/cloudevents") and media_type != SINGLE:
        raise InvalidEvent(f"header {_CONTENT_TYPE} must be {SINGLE} in structured mode, not {media_type[:80]!r}")
    if media_type == SINGLE:
        return True
    names = {name for name, _ in headers}
    if any(name.startswith(_PREFIX) for name in names):
        return False
    misnamed = next((header for header in _HTTP_NAMES if header in names), None)
    if misnamed is not None:
        name = _HTTP_NAMES[misnamed]
        raise InvalidEvent(
            f"header {misnamed} must be named {_PREFIX}{name}: the attributes of a Kafka record begin with {_PREFIX}",
            name,
        )
    if media_type and not is_json(media_type):
        raise InvalidEvent(
            f"header {_CONTENT_TYPE} is {media_type[:80]!r}; without {_PREFIX} headers it must be {SINGLE}"
        )
    return True


def _from_binary_mode(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> bytes:
    texts: dict[str, str] = {}
    misnamed = [header for header, _ in headers if header in _HTTP_NAMES]
    for header, text in headers:
        if header in texts:
            raise InvalidEvent(f"header {header} appears twice", _attribute_name(header))
        if header not in misnamed:
            texts[header] = _decode_text(header, text)
    for header in misnamed:
        name = _HTTP_NAMES[header]
        if f"{_PREFIX}{name}" not in texts:
            raise InvalidEvent(f"header {_PREFIX}{name} is missing, but there is {header}", name)
    if _CONTENT_TYPE in texts:
        _check_same_type(texts[_CONTENT_TYPE], texts.pop(_DATA_CONTENT_TYPE, texts[_CONTENT_TYPE]))
    attributes = {_attribute_name(header): text for header, text in texts.items()}
    check_required(attributes, _PREFIX)
    if "datacontenttype" in attributes:
        check_content_type(attributes["datacontenttype"])
    return event_json(attributes, json_text(value, "data", "data") if value else None)


def _check_same_type(content_type: str, attribute: str) -> None:
    """Check that `ce_datacontenttype`, which the binding does not define, names the same type as the content type.

    Raises: InvalidEvent.
    """
    if _media_type(content_type) != _media_type(attribute):
        raise InvalidEvent(
            f"headers {_CONTENT_TYPE} ({content_type[:80]!r}) and {_DATA_CONTENT_TYPE} ({attribute[:80]!r}) "
            "say different types",
            "datacontenttype",
        )


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


@lru_cache(maxsize=256)
def _attribute_name(header: str) -> str:
    name = "datacontenttype" if header == _CONTENT_TYPE else header.removeprefix(_PREFIX)
    if name == "data" or not _NAME.match(name):
        raise InvalidEvent(f"header {header[:80]!r} names no attribute")
    return name


def _decode_text(header: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"header {header} is not UTF-8: {error.reason} at byte {error.start}") from None
