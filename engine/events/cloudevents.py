"""CloudEvents JSON to events: decoding and every rule an event keeps before it is metered.

Owns: what a valid event is. The HTTP routes and the consumer of the log decode with the same code, so that what was
accepted with 204 is what is stored. `data` is kept as the bytes that were sent, `data_base64` as those it stands for.
Limits: attributes of 2,048 bytes, nesting of 500 levels, numbers a double can hold (the engine's JSON parser reads
nothing of a document with a larger one), times of a configured span.
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
from engine.events.repeated_members import doubled_members, has_doubled
from engine.events.unreadable import is_foreign, why_not_json
from engine.instants import LAST_MS, milliseconds
from engine.texts import printable

ATTRIBUTE_BYTES = 2048
NESTING = 500
_SURELY_SHORT = ATTRIBUTE_BYTES // 4  # characters: four bytes each at most
_VERSIONS = frozenset({"1.0", "0.3"})
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:[0-5]\d)\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_JSON_TYPE = re.compile(r"[^\s/]+/(?:[^\s/]+\+)?json\Z")
_AN_OBJECT = "it is an object; send one event as application/cloudevents+json, several as an array"
_TOO_LARGE = "number is infinity"  # orjson's words
_EXTENSION = re.compile(r"[a-z0-9]+\Z")


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """A CloudEvent without extensions: nearly all of them; the rest takes the slower way through `_Open`."""

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


class _Open(_Envelope, forbid_unknown_fields=False):
    """The same with extensions left aside, but for one that was an attribute in version 0.3."""

    datacontentencoding: msgspec.Raw = msgspec.Raw(b"")


_closed_decoder = msgspec.json.Decoder(_Envelope)
_open_decoder = msgspec.json.Decoder(_Open)
decode_attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_batch_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_QUOTES_OF_REQUIRED = 5 * 4  # two of a name and two of its text
_CORE = frozenset(_Envelope.__struct_fields__) - {"datacontenttype", "dataschema"}


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """The times events may have: from `earliest_ms` on, and at most `future_ms` after they arrived."""

    earliest_ms: int
    future_ms: int

    @classmethod
    def of(cls, settings: IngestSettings) -> "TimeSpan":
        return cls(milliseconds(datetime.fromisoformat(settings.earliest_time)), settings.future_seconds * 1000)


def split_batch(body: bytes) -> list[bytes]:
    """Return the JSON text of each event of a JSON array, as sent. Raises: InvalidEvent: it is not a JSON array."""
    try:
        return [bytes(item) for item in _batch_decoder.decode(body)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        is_object = body.lstrip(b" \t\r\n").startswith(b"{") and not is_foreign(body)
        reason = _AN_OBJECT if is_object else why_not_json(body, error)
        raise InvalidEvent(f"not a JSON array of events: {reason}") from None


def decode_event(value: bytes, arrived_ms: int, partition: int, offset: int, span: TimeSpan) -> Event:
    """Decode one structured-mode CloudEvent.

    Args: arrived_ms: when the log took it; the event's time if it has none, and what "future" is measured from.
    Raises: InvalidEvent: the reason, and the attribute at fault.
    """
    envelope, extensions = _envelope(value)
    if envelope.specversion not in _VERSIONS:
        raise InvalidEvent(f"specversion must be 1.0, not {envelope.specversion!r}", "specversion")
    for name, text in (
        ("id", envelope.id),
        ("source", envelope.source),
        ("type", envelope.type),
        ("subject", envelope.subject),
    ):
        if not 0 < len(text) <= _SURELY_SHORT or not text.isprintable():
            _check_attribute(name, text)
    if envelope.datacontenttype is not None:
        check_content_type(envelope.datacontenttype)
    time_ms = arrived_ms if envelope.time is None else _time(envelope.time)
    if time_ms < span.earliest_ms:
        raise InvalidEvent("time is before the earliest time taken", "time")
    if time_ms > arrived_ms + span.future_ms or time_ms > LAST_MS:
        raise InvalidEvent("time is too far in the future", "time")
    return Event(
        envelope.id,
        envelope.source,
        envelope.type,
        envelope.subject,
        time_ms,
        _content(envelope),
        extensions,
        arrived_ms,
        partition,
        offset,
        event_key(envelope.source, envelope.id),
    )


def _envelope(value: bytes) -> tuple[_Envelope, bytes]:
    """Return the core attributes and the extensions; what it does not look into (`data`) is checked by `_data`."""
    try:
        envelope = _closed_decoder.decode(value)
        if envelope.datacontenttype is None and envelope.dataschema is None:
            if value.count(b'"') != _fewest_quotes(envelope):
                _refuse_doubled(value, decode_attributes(value))
            return envelope, b""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _check_utf8(value)  # extensions, or a fault: the open decoder says which
    try:
        opened = _open_decoder.decode(value)
        attributes = decode_attributes(value)
        _refuse_doubled(value, attributes)
        return opened, extensions_of(attributes, "datacontentencoding" if _is_encoded(opened) else None)
    except msgspec.ValidationError as error:
        raise InvalidEvent(_plain(str(error)), _field(str(error))) from None
    except msgspec.DecodeError as error:
        raise InvalidEvent(f"not JSON: {why_not_json(value, error)}") from None
    except RecursionError:
        raise InvalidEvent(f"nested deeper than {NESTING} levels") from None


def _fewest_quotes(envelope: _Envelope) -> int:
    """Return how many quotation marks an event has at least, and exactly where nothing is null, escaped or doubled."""
    data = bytes(envelope.data)
    return (
        _QUOTES_OF_REQUIRED
        + (4 if envelope.time is not None else 0)
        + (4 if envelope.data_base64 is not None else 0)
        + (2 + data.count(b'"') if data else 0)
    )


def _refuse_doubled(value: bytes, attributes: Mapping[str, msgspec.Raw]) -> None:
    """Refuse an event that has an attribute twice: whoever reads it before us may take the other one.

    Raises: InvalidEvent: names the attribute.
    """
    if not has_doubled(value, attributes):
        return
    names = doubled_members(value)
    if names:
        raise InvalidEvent(f"{printable(names[0])} is there twice", names[0])


def _check_utf8(value: bytes) -> None:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start}"
        raise InvalidEvent(f"not JSON: {why_not_json(value, error)}" if is_foreign(value) else reason) from None


def extensions_of(attributes: Mapping[str, msgspec.Raw], without: str | None = None) -> bytes:
    """Return what `Event.extensions` holds of an event. Raises: InvalidEvent.

    Args: without: the name of one that is not kept.
    """
    kept: dict[str, Any] = {}
    for name in [name for name in attributes if name not in _CORE and name != without]:
        raw = attributes[name]
        if not _EXTENSION.match(name):
            raise InvalidEvent(f"attribute name {name!r} must be lower-case letters and digits", name)
        if len(raw) > ATTRIBUTE_BYTES:
            raise InvalidEvent(f"{name} is longer than {ATTRIBUTE_BYTES} bytes", name)
        decoded = _loads(bytes(raw), name)
        if isinstance(decoded, dict | list):
            raise InvalidEvent(f"{name} must be a string, a number, a boolean or null", name)
        if decoded is not None:
            kept[name] = decoded
    return orjson.dumps(kept) if kept else b""


def _check_attribute(name: str, text: str) -> None:
    if not text:
        raise InvalidEvent(f"{name} must not be empty", name)
    if len(text.encode("utf-8", "replace")) > ATTRIBUTE_BYTES:
        raise InvalidEvent(f"{name} is longer than {ATTRIBUTE_BYTES} bytes", name)
    if has_control(text):
        raise InvalidEvent(f"{name} holds a control character", name)


def has_control(text: str) -> bool:
    """Whether text holds a control character or half a surrogate pair."""
    return _CONTROL.search(text) is not None


def check_content_type(content_type: str) -> None:
    """Check that data is said to be JSON. Raises: InvalidEvent."""
    if not is_json(content_type):
        raise InvalidEvent("datacontenttype must be application/json or another type of JSON", "datacontenttype")


def is_json(content_type: str) -> bool:
    """Whether a media type, parameters aside, is one of JSON: its subtype is `json`, or ends with `+json`."""
    return _JSON_TYPE.match(content_type.split(";", maxsplit=1)[0].strip().lower()) is not None


def _time(text: str) -> int:
    """Return Unix milliseconds; finer digits are cut."""
    if not _RFC3339.match(text):
        raise InvalidEvent("time must be an RFC 3339 timestamp with an offset", "time")
    try:
        at = datetime.fromisoformat(text if text[-1] != "z" else text.upper())
        seconds = at.timestamp() // 1  # exact: a double holds these seconds with all six decimals
    except (ValueError, OverflowError) as error:
        raise InvalidEvent(f"time is no instant: {error}", "time") from None
    return int(seconds) * 1000 + at.microsecond // 1000


def _content(envelope: _Envelope) -> bytes:
    """Return the data of an event, decoded where it is in base64. Raises: InvalidEvent."""
    if envelope.data_base64 is not None:
        if envelope.data and bytes(envelope.data) != b"null":
            raise InvalidEvent("an event has data or data_base64, not both", "data_base64")
        return _decoded(envelope.data_base64, "data_base64")
    if _is_encoded(envelope):
        return _decoded(_loads(bytes(envelope.data), "data"), "data")
    return _data(bytes(envelope.data), "data")


def _is_encoded(envelope: _Envelope) -> bool:
    """Whether `data` is a text in base64: version 0.3 had no other place for it."""
    if not isinstance(envelope, _Open) or envelope.specversion != "0.3":
        return False
    return bytes(envelope.data).startswith(b'"') and bytes(envelope.datacontentencoding).lower() == b'"base64"'


def _decoded(text: str, name: str) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidEvent(f"{name} is not base64", name) from None
    return _data(data.strip(b" \t\r\n"), name, " in base64")


def _data(data: bytes, name: str, form: str = "") -> bytes:
    """Return the JSON text of data. Args: name: the member it is from. form: how it is written there."""
    if not data or data == b"null":
        return data
    if not data.startswith(b"{"):
        raise InvalidEvent(f"{name} must be a JSON object or null{form}", name)
    if data.count(b"{") + data.count(b"[") > NESTING and _depth(data) > NESTING:
        raise InvalidEvent(f"{name} is nested deeper than {NESTING} levels", name)
    _loads(data, name)  # refuses what the engine's parser would read nothing of
    return data


def _loads(text: bytes, name: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        wrong = ": a number is larger than a double can hold" if _TOO_LARGE in str(error) else f" is not JSON: {error}"
        raise InvalidEvent(f"{name}{wrong}", name) from None


def _depth(data: bytes) -> int:
    """Return how deeply JSON text nests; brackets inside strings do not count."""
    deepest = depth = 0
    for byte in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", data):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _plain(message: str) -> str:
    """Turn the decoder's words into ours: `Object missing required field `id`` → `id is missing`."""
    missing = re.match(r"Object missing required field `(\w+)`", message)
    if missing:
        return f"{missing[1]} is missing"
    wrong = re.match(r"Expected `(.+?)`, got `(\w+)` - at `\$\.(\w+)`", message)
    if wrong:
        return f"{wrong[3]} must be {wrong[1].removesuffix(' | null')}, not {wrong[2]}"
    return "an event must be a JSON object" if "got `" in message else message


def _field(message: str) -> str | None:
    found = re.search(r"required field `(\w+)`", message) or re.search(r"at `\$\.(\w+)`", message)
    return found[1] if found else None
