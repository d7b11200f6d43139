"""The decoder of the attributes of many CloudEvents, and the search for events that have an attribute twice.

Owns: the fast decoders. Their rules may be stricter than those of `decode_event`, but never more lenient. The events
that they do not accept, and those that may have an attribute twice, are decoded by `decode_event`.
Source: docs/contract.md 3.1; engine/events/bulk_decoder.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

import msgspec

from engine.errors import InvalidEvent
from engine.events.cloudevents import MAX_ATTRIBUTE_BYTES, decode_attributes, extensions_of
from engine.events.repeated_members import count_quotes, may_repeat_names, quotes_in

# A character has at most four bytes. A media type is stored as JSON, where a character has at most twelve bytes.
_Attribute = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ATTRIBUTE_BYTES // 4)]
_MediaType = Annotated[str, msgspec.Meta(max_length=MAX_ATTRIBUTE_BYTES // 16)]


class PlainEnvelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A CloudEvent without extensions whose attributes certainly have an allowed length."""

    id: _Attribute
    source: _Attribute
    type: _Attribute
    subject: _Attribute
    specversion: Literal["1.0", "0.3"]
    time: Annotated[str, msgspec.Meta(min_length=1)] | msgspec.UnsetType | None = msgspec.UNSET
    data: msgspec.Raw = msgspec.Raw(b"")
    datacontenttype: _MediaType | None = None


class _ExtendedEnvelope(PlainEnvelope, forbid_unknown_fields=False, gc=False):
    """A CloudEvent whose extensions are ignored.

    If one of the last two members says that data is in base64, the event is decoded exactly.
    """

    dataschema: str | None = None
    data_base64: msgspec.Raw = msgspec.Raw(b"")
    datacontentencoding: msgspec.Raw = msgspec.Raw(b"")


_decode_plain = msgspec.json.Decoder(PlainEnvelope).decode
_decode_extended = msgspec.json.Decoder(_ExtendedEnvelope).decode
_UNDECODED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
PLACEHOLDER = PlainEnvelope("-", "-", "-", "-", "1.0")
_QUOTES_OF_REQUIRED = 5 * 4  # the quotation marks of five attributes: two for the name, two for the value


class OptionalAttributes(NamedTuple):
    """The optional attributes of several events. `data`: all data joined; `data_count`: how many events have data."""

    times: list[str | msgspec.UnsetType | None]
    media_types: list[str | None]
    data: bytes
    data_count: int

    @classmethod
    def of(cls, events: Sequence[PlainEnvelope]) -> "OptionalAttributes":
        data = [event.data for event in events if event.data]
        times, media_types = [event.time for event in events], [event.datacontenttype for event in events]
        return cls(times, media_types, b"".join(data), len(data))


@dataclass(slots=True)
class Envelopes:
    """The envelopes of several values. `PLACEHOLDER` stands for a value that must be decoded exactly.

    `extended`: by row, the extensions of the events that have some; placeholders are in it too.
    `attribute_count`, `attribute_values`: how many attributes the events with extensions have, and their values.
    """

    plain: list[PlainEnvelope] = field(default_factory=list)
    extended: dict[int, bytes] = field(default_factory=dict)
    attribute_count: int = 0
    attribute_values: list[bytes] = field(default_factory=list)

    def add_extended(self, value: bytes) -> None:
        """Add the envelope of an event with extensions, or a placeholder if it must be decoded exactly."""
        row = len(self.plain)
        self.plain.append(PLACEHOLDER)
        self.extended[row] = b""
        try:
            value.decode()  # checks the UTF-8 of parts that neither decoder reads, such as data
            envelope = _decode_extended(value)
            if envelope.data_base64 or envelope.datacontentencoding:
                return
            attributes = decode_attributes(value)
            self.extended[row] = extensions_of(attributes)
        except (*_UNDECODED, InvalidEvent):
            return
        self.plain[row] = envelope
        self.attribute_count += len(attributes)
        self.attribute_values.append(b"".join(attributes.values()))


def decode_envelopes(values: Sequence[bytes]) -> Envelopes:
    """Return the envelopes of all values."""
    envelopes = Envelopes()
    add = envelopes.plain.append
    for value in values:
        try:
            add(_decode_plain(value))
        except _UNDECODED:
            envelopes.add_extended(value)
    return envelopes


def rows_with_repeated_names(values: Sequence[bytes], envelopes: Envelopes, optional: OptionalAttributes) -> list[int]:
    """Return the rows whose events may have an attribute twice. Placeholders are left out.

    If all events together have no more quotation marks than their attributes need, no event has an attribute twice.
    So one pass over all values is enough in most cases.
    Args: optional: the optional attributes of all events.
    """
    texts = values
    if envelopes.extended:
        optional = OptionalAttributes.of(
            [event for row, event in enumerate(envelopes.plain) if row not in envelopes.extended]
        )
        texts = [value for value, event in zip(values, envelopes.plain, strict=True) if event is not PLACEHOLDER]
    count = len(optional.times)
    quotes = (_QUOTES_OF_REQUIRED + 8) * count + 2 * optional.data_count + 2 * envelopes.attribute_count
    quotes -= 4 * optional.times.count(msgspec.UNSET) + 2 * optional.times.count(None)
    quotes -= 4 * optional.media_types.count(None)
    if count_quotes(texts) == quotes + quotes_in(optional.data) + count_quotes(envelopes.attribute_values):
        return []
    return [
        row
        for row, (value, event) in enumerate(zip(values, envelopes.plain, strict=True))
        if event is not PLACEHOLDER and may_repeat_names(value, decode_attributes(value))
    ]
