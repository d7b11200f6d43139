"""The attributes of many CloudEvents at once, and which events have one twice.

Owns: the decoders of a block. Their rules may be stricter than those of `decode_event`, never laxer: what they do not
take is left to it, as is an event that may have an attribute twice.
Source: docs/contract.md 3.1; engine/events/columns.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

import msgspec

from engine.errors import InvalidEvent
from engine.events.cloudevents import ATTRIBUTE_BYTES, decode_attributes, extensions_of
from engine.events.repeated_members import count_quotes, has_doubled, quotes_in

_Attribute = Annotated[str, msgspec.Meta(min_length=1, max_length=ATTRIBUTE_BYTES // 4)]  # four bytes a character
_MediaType = Annotated[str, msgspec.Meta(max_length=ATTRIBUTE_BYTES // 16)]  # kept as JSON: twelve bytes a character


class Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A CloudEvent without extensions whose attributes are surely of the right length."""

    id: _Attribute
    source: _Attribute
    type: _Attribute
    subject: _Attribute
    specversion: Literal["1.0", "0.3"]
    time: Annotated[str, msgspec.Meta(min_length=1)] | msgspec.UnsetType | None = msgspec.UNSET
    data: msgspec.Raw = msgspec.Raw(b"")
    datacontenttype: _MediaType | None = None


class _Extended(Plain, forbid_unknown_fields=False, gc=False):
    """The same with extensions left aside. One with data in base64 (the last two members) is decoded exactly."""

    dataschema: str | None = None
    data_base64: msgspec.Raw = msgspec.Raw(b"")
    datacontentencoding: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(Plain).decode
_decode_extended = msgspec.json.Decoder(_Extended).decode
_UNDECODED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
STAND_IN = Plain("-", "-", "-", "-", "1.0")
_QUOTES_OF_REQUIRED = 5 * 4  # two of a name and two of its text


class Columns(NamedTuple):
    """What some events have in their optional attributes. `data`: in one piece; `with_data`: how many have any."""

    times: list[str | msgspec.UnsetType | None]
    media_types: list[str | None]
    data: bytes
    with_data: int

    @classmethod
    def of(cls, events: Sequence[Plain]) -> "Columns":
        data = [event.data for event in events if event.data]
        times, media_types = [event.time for event in events], [event.datacontenttype for event in events]
        return cls(times, media_types, b"".join(data), len(data))


@dataclass(slots=True)
class Envelopes:
    """The envelopes of some values, `STAND_IN` for one to be decoded exactly.

    extended: the extensions of those that have any, by row, and of stand-ins. names, inner: of the former, how many
    attributes they have and what is in these.
    """

    plain: list[Plain] = field(default_factory=list)
    extended: dict[int, bytes] = field(default_factory=dict)
    names: int = 0
    inner: list[bytes] = field(default_factory=list)

    def add_extended(self, value: bytes) -> None:
        """Add the envelope of an event that has extensions, or is to be decoded exactly."""
        row = len(self.plain)
        self.plain.append(STAND_IN)
        self.extended[row] = b""
        try:
            value.decode()  # also what neither decoder looks at, as data
            envelope = _decode_extended(value)
            if envelope.data_base64 or envelope.datacontentencoding:
                return
            attributes = decode_attributes(value)
            self.extended[row] = extensions_of(attributes)
        except (*_UNDECODED, InvalidEvent):
            return
        self.plain[row] = envelope
        self.names += len(attributes)
        self.inner.append(b"".join(attributes.values()))


def decode_envelopes(values: Sequence[bytes]) -> Envelopes:
    """Return the envelope of each value."""
    envelopes = Envelopes()
    add = envelopes.plain.append
    for value in values:
        try:
            add(_decode(value))
        except _UNDECODED:
            envelopes.add_extended(value)
    return envelopes


def with_doubled(values: Sequence[bytes], envelopes: Envelopes, columns: Columns) -> list[int]:
    """Return which events may have an attribute twice; `STAND_IN` is not looked at. Args: columns: of all events.

    Where all events together have no more quotation marks than their attributes need, none has an attribute twice.
    That is one pass over the block.
    """
    texts = values
    if envelopes.extended:
        columns = Columns.of([event for row, event in enumerate(envelopes.plain) if row not in envelopes.extended])
        texts = [value for value, event in zip(values, envelopes.plain, strict=True) if event is not STAND_IN]
    count = len(columns.times)
    quotes = (_QUOTES_OF_REQUIRED + 8) * count + 2 * columns.with_data + 2 * envelopes.names
    quotes -= 4 * columns.times.count(msgspec.UNSET) + 2 * columns.times.count(None)
    quotes -= 4 * columns.media_types.count(None)
    if count_quotes(texts) == quotes + quotes_in(columns.data) + count_quotes(envelopes.inner):
        return []
    return [
        row
        for row, (value, event) in enumerate(zip(values, envelopes.plain, strict=True))
        if event is not STAND_IN and has_doubled(value, decode_attributes(value))
    ]
