"""Duplicates whose content differs from the stored event are recorded and counted once each. Retries are not.

Contract 3.1; case N27.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine import metrics
from engine.config.settings import IngestSettings
from engine.events.bulk_decoder import decode_events
from engine.events.cloudevents import TimeSpan
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.differing_duplicates import MOST_COMPARED, find_differing
from ingest.event_log import Range
from ingest.sqlite.log import SqliteLog

NOW = round(time.time() * 1000)
AT = "2025-12-24T10:00:00.5Z"
Feed = Callable[..., None]


def event(id_: str = "1", /, **changed: object) -> bytes:
    values = {"id": id_, "source": "s", "type": "call", "subject": "u", "time": AT, "data": {"v": 1}}
    kept = {"specversion": "1.0", **values, **changed}
    return json.dumps({name: value for name, value in kept.items() if value is not None}).encode()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    opened = SqliteLog(tmp_path / "log.sqlite", max_bytes=1 << 30)
    yield opened
    opened.close()


@pytest.fixture
def feed(log: SqliteLog, store: Store) -> Feed:
    """Ingest events as one batch, which arrives some milliseconds after the previous one."""
    consumer = started(log, store)
    arrived_ms = NOW

    def ingest(*events: bytes, later_ms: int = 1000) -> None:
        nonlocal arrived_ms
        arrived_ms += later_ms
        log.append(list(events), arrived_ms).result()
        assert consumer.step()

    return ingest


def started(log: SqliteLog, store: Store) -> Consumer:
    consumer = Consumer(log, store, IngestSettings(), threading.Event())
    consumer.start()
    return consumer


def kept(store: Store) -> list[tuple[Any, ...]]:
    rows = store.rows("SELECT id, subject, data, log_offset FROM differing_duplicates ORDER BY log_offset")
    return [tuple(row) for row in rows]


def counted() -> float:
    return float(metrics.EVENTS_DIFFERENT._value.get())


DIFFERENT: dict[str, dict[str, object]] = {
    "other data": {"data": {"v": 2}},
    "the same data, written otherwise": {"data": {"v": 1.0}},
    "no data": {"data": None},
    "another subject": {"subject": 'it\'s "another"\\ 客户'},
    "another type": {"type": "other"},
    "another time": {"time": "2025-12-24T10:00:00.501Z"},
    "another month": {"time": "2025-11-24T10:00:00Z"},
    "no time": {"time": None},
    "an extension": {"ext": "1"},
}


@pytest.mark.parametrize("changed", DIFFERENT.values(), ids=DIFFERENT)
def test_a_duplicate_with_other_content_is_kept_and_counted(
    feed: Feed, store: Store, changed: dict[str, object]
) -> None:
    before = counted()
    feed(event("1"), event("2"))

    feed(event("2"), event("1", **changed), event("3"))

    expected = {"subject": "u", "data": {"v": 1}, **changed}
    data = expected["data"]
    assert kept(store) == [("1", expected["subject"], "" if data is None else json.dumps(data), 4)]
    assert counted() == before + 1
    assert store.rows("SELECT count() FROM events") == [(3,)]


def test_retries_are_not_kept(feed: Feed, store: Store) -> None:
    before = counted()
    batch = [event(str(number), subject=f"u{number % 3}", time=None if number % 2 else AT) for number in range(50)]
    feed(*batch)
    feed(*batch, event("more"))
    feed(event("more", data={"v": 1}), event("more"))

    assert kept(store) == []
    assert counted() == before


def test_an_event_without_a_time_is_the_same_at_whatever_time_it_is_sent_again(feed: Feed, store: Store) -> None:
    feed(event("1", time=None))
    feed(event("1", time=None), later_ms=86_400_000 * 3)
    assert kept(store) == []

    feed(event("1", time=None, data={"v": 2}))
    assert [row[2] for row in kept(store)] == ['{"v": 2}']


def test_within_a_batch_the_first_is_the_one_compared_with(feed: Feed, store: Store) -> None:
    feed(event("1"), event("1", data={"v": 2}), event("1"), event("1", data={"v": 3}))

    assert [row[2] for row in kept(store)] == ['{"v": 2}', '{"v": 3}']


def test_of_a_block_so_many_are_compared_and_no_more(feed: Feed, store: Store) -> None:
    events = [str(number) for number in range(3 * MOST_COMPARED)]
    feed(*(event(id_) for id_ in events))

    feed(*(event(id_, data={"v": 2}) for id_ in events))

    offsets = [row[3] for row in kept(store)]
    assert len(offsets) == MOST_COMPARED
    assert (offsets[0], offsets[-1]) == (len(events) + 1, 2 * len(events))


def test_a_plan_that_is_run_again_keeps_the_same_ones_once(log: SqliteLog, store: Store, tmp_path: Path) -> None:
    log.append([event("1")], NOW).result()
    consumer = started(log, store)
    consumer.step()
    log.append([event("1", data={"v": 2}), event("2")], NOW).result()
    records = log.read(1000, 1 << 20, 0)
    plan = log.plan((Range(log.partition, 2, 4),), NOW)  # planned, inserted, not acknowledged
    assert plan
    consumer.writer.store(plan, consumer._decode(records, None))
    assert [row[2] for row in kept(store)] == ['{"v": 2}']

    with closing(SqliteLog(tmp_path / "log.sqlite", max_bytes=1 << 30)) as next_log:
        started(next_log, store)
        assert next_log.planned() == []

    assert store.rows("SELECT count() FROM differing_duplicates") == [(1,)]
    assert store.rows("SELECT count() FROM events") == [(2,)]


def test_a_store_that_cannot_compare_is_told_and_holds_up_nothing(
    feed: Feed, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    feed(event("1"))
    duplicate = decode_events([event("1", data={"v": 2})], [NOW], [0], [9], TimeSpan.of(IngestSettings())).events
    assert len(find_differing(store, duplicate, duplicate.first(0), 0)) == 1

    store.command("RENAME TABLE event_keys TO aside")
    found = find_differing(store, duplicate, duplicate.first(0), 0)

    assert len(found) == 0
    assert "duplicates_not_compared count=1" in caplog.text
