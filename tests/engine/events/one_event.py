"""One CloudEvent of these tests: how it is written and decoded alone, and how it is refused."""

import json
from datetime import datetime

import pytest

from engine.config.settings import IngestSettings
from engine.errors import InvalidEvent
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import Event

ARRIVED = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SPAN = TimeSpan.of(IngestSettings())
DAY_MS = 86_400_000


def envelope(data: bytes = b"", /, **attributes: object) -> bytes:
    """Return an event. An attribute that is None is left out. `data` is inserted unchanged."""
    values: dict[str, object] = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "subject": "u"}
    kept = {name: value for name, value in (values | attributes).items() if value is not None}
    body = json.dumps(kept).encode()
    return body[:-1] + b',"data":' + data + b"}" if data else body


def decoded(value: bytes) -> Event:
    return decode_event(value, ARRIVED, 0, 7, SPAN)


def refusal(value: bytes) -> tuple[str, str | None]:
    with pytest.raises(InvalidEvent) as refused:
        decoded(value)
    return str(refused.value), refused.value.field


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
