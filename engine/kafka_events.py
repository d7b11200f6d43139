"""The CloudEvent of a Kafka record, as structured JSON.

Owns: the content modes of the Kafka protocol binding. `content-type` tells them apart: `application/cloudevents…` is
structured mode, of whose event formats JSON is taken; a record with neither that header nor any `ce_` header is
structured JSON, too. Every other record is in binary mode: its `ce_` headers are the attributes, its value is `data`.
There is no batched mode. Names of headers are compared without case; values are UTF-8 and mean what they say, percent
signs included (only the HTTP binding encodes with them). A header without a value is as if it were absent.
What makes an event valid is not decided here but in engine/cloudevents.py; what binary mode is in every binding is in
engine/binary_mode.py.
Source: CloudEvents Kafka protocol binding 1.0.2; docs/design.md R4.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from engine.binary_mode import check_required, event_json
from engine.cloudevents import check_content_type
from engine.errors import InvalidEvent

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

_CONTENT_TYPE = "content-type"
_PREFIX = "ce_"
_NAME = re.compile(r"[a-z0-9]+\Z")
_STRUCTURED = "application/cloudevents+json"


def structured(value: bytes | None, headers: Headers | None) -> bytes:
    """Return the JSON of a record's event: the value itself in structured mode.

    Raises: InvalidEvent: the reason, naming the header or the attribute at fault.
    """
    given = [(_ours(name), text) for name, text in headers if text is not None] if headers else []
    ours = [(name, text) for name, text in given if name]
    if ours and not _is_structured(ours):
        return _binary(value, ours)
    if not value:
        raise InvalidEvent("the record has no value")
    return value


@lru_cache(maxsize=256)
def _ours(header: str) -> str:
    """Return a header as the binding spells it, "" if it is none of the binding's."""
    name = header.lower()
    return name if name == _CONTENT_TYPE or name.startswith(_PREFIX) else ""


def _is_structured(headers: Sequence[tuple[str, bytes]]) -> bool:
    """Whether a content type says so. Raises: InvalidEvent: it names another event format, or there are two."""
    types = [_text(name, text) for name, text in headers if name == _CONTENT_TYPE]
    if len(types) > 1:
        raise InvalidEvent(f"header {_CONTENT_TYPE} is there twice")
    kind = types[0].partition(";")[0].strip().lower() if types else ""
    if kind.startswith("application/cloudevents") and kind != _STRUCTURED:
        raise InvalidEvent(f"header {_CONTENT_TYPE} must be {_STRUCTURED} in structured mode, not {kind[:80]!r}")
    return kind == _STRUCTURED


def _binary(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> bytes:
    attributes: dict[str, str] = {}
    for header, text in headers:
        name = _attribute(header)
        if name in attributes:
            raise InvalidEvent(f"header {header} is there twice", name)
        attributes[name] = _text(header, text)
    check_required(attributes, _PREFIX)
    if "datacontenttype" in attributes:
        check_content_type(attributes["datacontenttype"])
    return event_json(attributes, value)


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
