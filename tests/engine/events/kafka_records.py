"""One Kafka record of these tests: its headers, the event that it is, and how it is refused."""

import pytest

from engine.errors import InvalidEvent
from engine.events.cloudevents import decode_event
from engine.events.event import Event
from engine.events.kafka import Headers, to_structured_json
from tests.engine.events.one_event import ARRIVED, SPAN

EVENT = b'{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"u","data":{"v":1}}'
ATTRIBUTES = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"s", "ce_type": b"t", "ce_subject": b"u"}


def binary(**changed: bytes | None) -> Headers:
    """Return the headers of a record in binary mode. `kind` is its content-type. None leaves a header out."""
    named = {("content-type" if name == "kind" else name): text for name, text in changed.items()}
    return [(name, text) for name, text in (ATTRIBUTES | named).items() if name not in named or text is not None]


def decoded(value: bytes | None, headers: Headers | None) -> Event:
    return decode_event(to_structured_json(value, headers), ARRIVED, 0, 7, SPAN)


def refusal(value: bytes | None, headers: Headers | None) -> tuple[str, str | None]:
    with pytest.raises(InvalidEvent) as refused:
        decoded(value, headers)
    return str(refused.value), refused.value.field
