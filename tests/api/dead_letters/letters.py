"""The tests of dead letters share how records are refused and replayed, and how events are counted."""

import threading
from datetime import datetime, timedelta

import orjson

from engine.config.settings import IngestSettings
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.dead_letters import DeadLetter, dead_letter_block
from ingest.event_log import Headers, Record
from ingest.sqlite.log import SqliteLog
from tests.api.conftest import event
from tests.harness.api_client import ApiClient

URL = "/api/v1/dead-letters"
REPLAY = f"{URL}/replay"
NOW = utc_now()
EARLIER = NOW - timedelta(hours=3)  # when the dead letters of these tests arrived
STRICT = IngestSettings(future_seconds=0)  # the rules that refused them
TODAY = IngestSettings(future_seconds=30 * 86_400)


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ahead(id_: str, days: float = 2, **data: object) -> bytes:
    """Return an event whose time is `days` ahead of the clock."""
    return orjson.dumps(event(id_, "acme", stamp(NOW + timedelta(days=days)), {"tokens": 1, **data}))


def ingest(log: SqliteLog, store: Store, rules: IngestSettings = TODAY) -> None:
    """Store everything that is in the log."""
    consumer = Consumer(log, store, rules, threading.Event())
    consumer.start()
    while consumer.step(wait_seconds=0):
        pass


def offsets(store: Store) -> list[int]:
    return [offset for (offset,) in store.rows("SELECT log_offset FROM dead_letters ORDER BY log_offset")]


def kafka_letter(
    store: Store,
    value: bytes | None,
    headers: Headers | None = None,
    reason: str = "id is missing",
    arrived: datetime = EARLIER,
    offset: int = 1,
) -> None:
    letter = DeadLetter(Record(4, offset, milliseconds(arrived), value, headers), reason)
    store.insert_block("dead_letters", dead_letter_block([letter], milliseconds(NOW)), f"letter-{offset}")


def counted(store: Store) -> list[tuple[str, ...]]:
    """Return the id, time and data of all events."""
    return store.rows("SELECT id, formatDateTime(time, '%FT%T.%fZ', 'UTC'), data FROM events ORDER BY id")


def ids(store: Store) -> list[str]:
    return [row[0] for row in counted(store)]


def replayed(client: ApiClient, **body: object) -> dict[str, object]:
    answer = client.post(REPLAY, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def outcome(answer: dict[str, object]) -> tuple[object, object]:
    return answer["replayed"], answer["stillInvalid"]


def problems(answer: dict[str, object]) -> list[dict[str, object]]:
    found = answer["problems"]
    assert isinstance(found, list)
    return found
