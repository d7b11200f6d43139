"""The decoder that turns CloudEvents JSON into events, and all rules that an event must follow.

Owns: what a valid event is. The HTTP routes and the consumer of the event log decode with the same code, so that an
event accepted with 204 is stored. `data` is kept as the bytes that were sent, `data_base64` as the decoded bytes.
Limits: attributes have at most 2,048 bytes; JSON nests at most 500 levels; numbers fit into a double (ClickHouse's JSON
parser reads nothing of a document with a larger number); times lie in a configured span.
Source: CloudEvents 1.0 JSON format; docs/contract.md "Events".
"""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import orjson

from engine.config.settings import IngestSettings
from engine.errors import InvalidEvent
from engine.events.event import Event, event_key
from engine.events.parse_errors import field_at_fault, translate_error
from engine.events.repeated_members import may_repeat_names, repeated_names
from engine.events.unreadable import has_other_format, why_not_json
from engine.instants import LAST_MS, milliseconds
from engine.texts import CONTROL, printable

MAX_ATTRIBUTE_BYTES = 2048
MAX_NESTING = 500
_SURELY_SHORT_CHARACTERS = MAX_ATTRIBUTE_BYTES // 4  # a character has at most four bytes in UTF-8
_VERSIONS = frozenset({"1.0", "0.3"})
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:[0-5]\d)\Z", re.ASCII)
_JSON_TYPE = re.compile(r"[^\s/]+/(?:[^\s/]+\+)?json\Z")
_OBJECT_ADVICE = "it is an object; send one event as application/cloudevents+json, several as an array"
_INFINITY_ERROR = "number is infinity"  # a part of orjson's message
_EXTENSION_NAME = re.compile(r"[a-z0-9]+\Z")


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """A CloudEvent without extensions. Nearly all are like this; `_ExtendedEnvelope` decodes the others more slowly."""

    id: str
    source: str
    type: str
    subject: str
    specversion: str
    time: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    datacontenttype: str | None = None
    dataschema: str | None = None
    data_base64: str | None = None


class _ExtendedEnvelope(_Envelope, forbid_unknown_fields=False):
    """A CloudEvent whose extensions are ignored, except one that was an attribute in version 0.3."""

    datacontentencoding: msgspec.Raw = msgspec.Raw(b"")


_plain_decoder = msgspec.json.Decoder(_Envelope)
_extended_decoder = msgspec.json.Decoder(_ExtendedEnvelope)
decode_attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_batch_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_QUOTES_OF_REQUIRED = 5 * 4  # the quotation marks of five attributes: two for the name, two for the value
_CORE_ATTRIBUTES = frozenset(_Envelope.__struct_fields__) - {"datacontenttype", "dataschema"}


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """The times that events may have: not before `earliest_ms`, and at most `future_ms` after their arrival."""

    earliest_ms: int
    future_ms: int

    @classmethod
    def of(cls, settings: IngestSettings) -> "TimeSpan":
        return cls(milliseconds(datetime.fromisoformat(settings.earliest_time)), settings.future_seconds * 1000)


def split_batch(body: bytes) -> list[bytes]:
    """Return the JSON text of each event of a JSON array, unchanged. Raises: InvalidEvent: it is not a JSON array."""
    try:
        return [bytes(item) for item in _batch_decoder.decode(body)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        is_object = body.lstrip(b" \t\r\n").startswith(b"{") and not has_other_format(body)
        reason = _OBJECT_ADVICE if is_object else why_not_json(body, error)
        raise InvalidEvent(f"not a JSON array of events: {reason}") from None


def decode_event(value: bytes, arrived_ms: int, partition: int, offset: int, span: TimeSpan) -> Event:
    """Decode one structured-mode CloudEvent.

    Args: arrived_ms: when the event log took it, in Unix milliseconds. It is the time of an event that has none, and a
        time in the future is measured from it.
    Raises: InvalidEvent: with the reason and the invalid attribute.
    """
    envelope, extensions = _decode_envelope(value)
    if envelope.specversion not in _VERSIONS:
        raise InvalidEvent(f"specversion must be 1.0, not {envelope.specversion!r}", "specversion")
    for name, text in (
        ("id", envelope.id),
        ("source", envelope.source),
        ("type", envelope.type),
        ("subject", envelope.subject),
    ):
        if not 0 < len(text) <= _SURELY_SHORT_CHARACTERS or not text.isprintable():
            _check_attribute(name, text)
    if envelope.datacontenttype is not None:
        check_content_type(envelope.datacontenttype)
    time_ms = arrived_ms if envelope.time is None else _parse_time(envelope.time)
    if time_ms < span.earliest_ms:
        raise InvalidEvent("time is before the earliest accepted time", "time")
    if time_ms > arrived_ms + span.future_ms or time_ms > LAST_MS:
        raise InvalidEvent("time is too far in the future", "time")
    return Event(
        envelope.id,
        envelope.source,
        envelope.type,
        envelope.subject,
        time_ms,
        _decode_data(envelope),
        extensions,
        arrived_ms,
        partition,
        offset,
        event_key(envelope.source, envelope.id),
    )


def _decode_envelope(value: bytes) -> tuple[_Envelope, bytes]:
    """Return the core attributes and the extensions. `data` is only located here; `_check_data` checks it."""
    try:
        envelope = _plain_decoder.decode(value)
        if envelope.datacontenttype is None and envelope.dataschema is None:
            if value.count(b'"') != _min_quotes(envelope):
                _refuse_repeated(value, decode_attributes(value))
            return envelope, b""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _check_utf8(value)  # The event has extensions or is invalid; the extended decoder finds out which.
    try:
        extended = _extended_decoder.decode(value)
        attributes = decode_attributes(value)
        _refuse_repeated(value, attributes)
        return extended, extensions_of(attributes, "datacontentencoding" if _is_encoded(extended) else None)
    except msgspec.ValidationError as error:
        raise InvalidEvent(translate_error(str(error)), field_at_fault(str(error))) from None
    except msgspec.DecodeError as error:
        raise InvalidEvent(f"not JSON: {why_not_json(value, error)}") from None
    except RecursionError:
        raise InvalidEvent(f"nested deeper than {MAX_NESTING} levels") from None


def _min_quotes(envelope: _Envelope) -> int:
    """Return how many quotation marks an event has at least.

    The number is exact if no attribute is null, contains an escaped quotation mark, or appears twice.
    """
    data = bytes(envelope.data)
    return (
        _QUOTES_OF_REQUIRED
        + (4 if envelope.time is not None else 0)
        + (4 if envelope.data_base64 is not None else 0)
        + (2 + data.count(b'"') if data else 0)
    )


def _refuse_repeated(value: bytes, attributes: Mapping[str, msgspec.Raw]) -> None:
    """Refuse an event that has an attribute twice, because another program may have read the other one of the two.

    Raises: InvalidEvent: the message names the attribute.
    """
    if not may_repeat_names(value, attributes):
        return
    names = repeated_names(value)
    if names:
        raise InvalidEvent(f"{printable(names[0])} appears twice", names[0])


def _check_utf8(value: bytes) -> None:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start}"
        raise InvalidEvent(f"not JSON: {why_not_json(value, error)}" if has_other_format(value) else reason) from None


def extensions_of(attributes: Mapping[str, msgspec.Raw], excluded: str | None = None) -> bytes:
    """Return the extensions of an event as `Event.extensions` stores them. Raises: InvalidEvent.

    Args: excluded: the name of an extension that is left out.
    """
    kept: dict[str, Any] = {}
    for name in [name for name in attributes if name not in _CORE_ATTRIBUTES and name != excluded]:
        raw = attributes[name]
        if not _EXTENSION_NAME.match(name):
            raise InvalidEvent(f"attribute name {name!r} must be lower-case letters and digits", name)
        if len(raw) > MAX_ATTRIBUTE_BYTES:
            raise InvalidEvent(f"{name} is longer than {MAX_ATTRIBUTE_BYTES} bytes", name)
        decoded = _parse_json(bytes(raw), name)
        if isinstance(decoded, dict | list):
            raise InvalidEvent(f"{name} must be a string, a number, a boolean or null", name)
        if decoded is not None:
            kept[name] = decoded
    return orjson.dumps(kept) if kept else b""


def _check_attribute(name: str, text: str) -> None:
    if not text:
        raise InvalidEvent(f"{name} must not be empty", name)
    if len(text.encode("utf-8", "replace")) > MAX_ATTRIBUTE_BYTES:
        raise InvalidEvent(f"{name} is longer than {MAX_ATTRIBUTE_BYTES} bytes", name)
    if has_control(text):
        raise InvalidEvent(f"{name} holds a control character", name)


def has_control(text: str) -> bool:
    """Return whether a text contains a control character or a lone surrogate."""
    return CONTROL.search(text) is not None


def check_content_type(content_type: str) -> None:
    """Check that a `datacontenttype` is a type of JSON. Raises: InvalidEvent."""
    if not is_json(content_type):
        raise InvalidEvent("datacontenttype must be application/json or another type of JSON", "datacontenttype")


def is_json(content_type: str) -> bool:
    """Return whether a media type is a type of JSON: its subtype is `json` or ends with `+json`.

    Parameters of the media type are ignored.
    """
    return _JSON_TYPE.match(content_type.split(";", maxsplit=1)[0].strip().lower()) is not None


def _parse_time(text: str) -> int:
    """Return Unix milliseconds, rounded down. Raises: InvalidEvent."""
    if not _RFC3339.match(text):
        raise InvalidEvent("time must be an RFC 3339 timestamp with an offset", "time")
    try:
        instant = datetime.fromisoformat(text if text[-1] != "z" else text.upper())
        seconds = instant.timestamp() // 1  # exact: a double can represent these seconds with six decimals
    except (ValueError, OverflowError) as error:
        raise InvalidEvent(f"time is invalid: {error}", "time") from None
    return int(seconds) * 1000 + instant.microsecond // 1000


def _decode_data(envelope: _Envelope) -> bytes:
    """Return the checked data of an event, decoded if it is in base64. Raises: InvalidEvent."""
    if envelope.data_base64 is not None:
        if envelope.data and bytes(envelope.data) != b"null":
            raise InvalidEvent("an event has data or data_base64, not both", "data_base64")
        return _decode_base64(envelope.data_base64, "data_base64")
    if _is_encoded(envelope):
        return _decode_base64(_parse_json(bytes(envelope.data), "data"), "data")
    return _check_data(bytes(envelope.data), "data")


def _is_encoded(envelope: _Envelope) -> bool:
    """Return whether `data` is a string in base64. Version 0.3 had no `data_base64`."""
    if not isinstance(envelope, _ExtendedEnvelope) or envelope.specversion != "0.3":
        return False
    return bytes(envelope.data).startswith(b'"') and bytes(envelope.datacontentencoding).lower() == b'"base64"'


def _decode_base64(text: str, name: str) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidEvent(f"{name} is not base64", name) from None
    return _check_data(data.strip(b" \t\r\n"), name, " in base64")


def _check_data(data: bytes, name: str, suffix: str = "") -> bytes:
    """Return the JSON text of data. Raises: InvalidEvent: it is not a JSON object or null, or breaks a limit.

    Args: name: the member that it comes from. suffix: how that member encodes it, for the message.
    """
    if not data or data == b"null":
        return data
    if not data.startswith(b"{"):
        raise InvalidEvent(f"{name} must be a JSON object or null{suffix}", name)
    if data.count(b"{") + data.count(b"[") > MAX_NESTING and _nesting_depth(data) > MAX_NESTING:
        raise InvalidEvent(f"{name} is nested deeper than {MAX_NESTING} levels", name)
    _parse_json(data, name)  # refuses data of which ClickHouse's parser would read nothing
    return data


def _parse_json(text: bytes, name: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        problem = (
            ": a number is larger than a double can hold" if _INFINITY_ERROR in str(error) else f" is not JSON: {error}"
        )
        raise InvalidEvent(f"{name}{problem}", name) from None


def _nesting_depth(data: bytes) -> int:
    """Return the nesting depth of a JSON text. Brackets inside strings do not count."""
    deepest = depth = 0
    for byte in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", data):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest
