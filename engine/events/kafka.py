"""The CloudEvent of a Kafka record, as structured JSON.

Owns: the content modes of the Kafka protocol binding, and how they are told apart. A content type of
`application/cloudevents…` is structured mode, of whose event formats JSON is taken. Binary mode has five `ce_` headers
at least, so a record without any is in structured mode, too, unless its content type is not JSON's. Every other record
is in binary mode: its `ce_` headers are the attributes, its value is `data`. There is no batched mode.
Names of headers are compared without case; values are UTF-8 and mean what they say, percent signs included (only the
HTTP binding encodes with them). A header without a value is as if it were absent. A record whose attributes have the
header names of HTTP (`ce-id`) is refused, for its value is probably not the event.
What makes an event valid is not decided here but in engine/events/cloudevents.py; what the bindings' binary modes have
in common is in engine/events/binary_mode.py, and how a value that is no JSON is recognized in
engine/events/unreadable.py.
Source: CloudEvents Kafka protocol binding 1.0.2; docs/contract.md 3.5; docs/design.md R4.
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
_TYPE_OF_DATA = "ce_datacontenttype"
_HTTP_NAMES = {f"ce-{name}": name for name in ("id", "source", "type", "subject", "specversion")}


def structured(value: bytes | None, headers: Headers | None) -> bytes:
    """Return the JSON of a record's event: the value itself in structured mode.

    Raises: InvalidEvent: the reason, naming the header or the attribute at fault.
    """
    given = [(_ours(name), text) for name, text in headers if text is not None] if headers else []
    ours = [(name, text) for name, text in given if name]
    if ours and not _is_structured(ours):
        return _binary(value, ours)
    text = json_text(value, "the value") if value else b""
    if not text:
        raise InvalidEvent("the record has no value")
    return text


@lru_cache(maxsize=256)
def _ours(header: str) -> str:
    """Return a header as the bindings spell it, "" if it is none of theirs."""
    name = header.lower()
    return name if name == _CONTENT_TYPE or name.startswith(_PREFIX) or name in _HTTP_NAMES else ""


def _is_structured(headers: Sequence[tuple[str, bytes]]) -> bool:
    """Whether the value is the event. Raises: InvalidEvent: what the headers say fits neither mode."""
    types = [_text(name, text) for name, text in headers if name == _CONTENT_TYPE]
    if len(types) > 1:
        raise InvalidEvent(f"header {_CONTENT_TYPE} is there twice")
    kind = _media_type(types[0]) if types else ""
    if kind.startswith("application/cloudevents") and kind != SINGLE:
        raise InvalidEvent(f"header {_CONTENT_TYPE} must be {SINGLE} in structured mode, not {kind[:80]!r}")
    if kind == SINGLE:
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
    if kind and not is_json(kind):
        raise InvalidEvent(f"header {_CONTENT_TYPE} is {kind[:80]!r}; without {_PREFIX} headers it must be {SINGLE}")
    return True


def _binary(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> bytes:
    texts: dict[str, str] = {}
    misnamed = [header for header, _ in headers if header in _HTTP_NAMES]
    for header, text in headers:
        if header in texts:
            raise InvalidEvent(f"header {header} is there twice", _attribute(header))
        if header not in misnamed:
            texts[header] = _text(header, text)
    for header in misnamed:
        name = _HTTP_NAMES[header]
        if f"{_PREFIX}{name}" not in texts:
            raise InvalidEvent(f"header {_PREFIX}{name} is missing, but there is {header}", name)
    if _CONTENT_TYPE in texts:
        _check_same(texts[_CONTENT_TYPE], texts.pop(_TYPE_OF_DATA, texts[_CONTENT_TYPE]))
    attributes = {_attribute(header): text for header, text in texts.items()}
    check_required(attributes, _PREFIX)
    if "datacontenttype" in attributes:
        check_content_type(attributes["datacontenttype"])
    return event_json(attributes, json_text(value, "data", "data") if value else None)


def _check_same(content_type: str, attribute: str) -> None:
    """Check that a `ce_datacontenttype`, which the binding does not have, says the same as the content type."""
    if _media_type(content_type) != _media_type(attribute):
        raise InvalidEvent(
            f"headers {_CONTENT_TYPE} ({content_type[:80]!r}) and {_TYPE_OF_DATA} ({attribute[:80]!r}) "
            "say different types",
            "datacontenttype",
        )


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


@lru_cache(maxsize=256)
def _attribute(header: str) -> str:
    name = "datacontenttype" if header == _CONTENT_TYPE else header.removeprefix(_PREFIX)
    if name == "data" or not _NAME.match(name):
        raise InvalidEvent(f"header {header[:80]!r} names no attribute")
    return name


def _text(header: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"header {header} is not UTF-8: {error.reason} at byte {error.start}") from None
