"""Exactly-once ingest at each step where a batch can fail, with a real store, a log file and real faults."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine import metrics
from engine.config.settings import IngestSettings
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import GRAINS, create_rollup
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.dead_letters import dead_letter_block
from ingest.event_log import Plan, Range
from ingest.sqlite.log import SqliteLog

NOW = round(time.time() * 1000)  # current, because the duplicate check forgets old keys
_EARLY = datetime(1970, 1, 1, tzinfo=UTC)


def _event(number: int, **attributes: object) -> bytes:
    values = {
        "source": "s",
        "subject": "u",
        "id": f"e{number}",
        "type": "call",
        "time": "2025-12-24T10:00:00Z",
    } | attributes
    data = values.pop("data", '{"v":2}')
    text = ",".join(f'"{name}":"{value}"' for name, value in values.items())
    return f'{{"specversion":"1.0",{text},"data":{data}}}'.encode()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    opened = SqliteLog(tmp_path / "log.sqlite", max_bytes=1 << 30)
    yield opened
    opened.close()


@pytest.fixture
def meter(store: Store) -> Meter:
    definition = parse_definition({"slug": "m", "eventType": "call", "aggregation": "SUM", "valueProperty": "$.v"})
    meter = Meter("1", 1, definition, MeterState.READY, "meter_m_00000000", _EARLY, _EARLY, _EARLY, _EARLY)
    create_rollup(store, meter)
    return meter


def _consumer(log: SqliteLog, store: Store, **settings: object) -> Consumer:
    consumer = Consumer(log, store, IngestSettings.model_validate(settings), threading.Event())
    consumer.start()
    return consumer


def _next_process(directory: Path) -> "closing[SqliteLog]":
    return closing(SqliteLog(directory / "log.sqlite", max_bytes=1 << 30))


def _stored(store: Store, meter: Meter) -> dict[str, int]:
    counts = {"events": "SELECT count() FROM events", "event_keys": "SELECT count() FROM event_keys"}
    counts |= {grain: f"SELECT toInt64(sum(total) / 2) FROM {meter.table(grain)}" for grain in GRAINS}
    return {name: int(store.rows(statement)[0][0]) for name, statement in counts.items()}


def _everywhere(count: int) -> dict[str, int]:
    return dict.fromkeys(["events", "event_keys", *GRAINS], count)


def test_a_batch_reaches_every_table_of_the_chain(log: SqliteLog, store: Store, meter: Meter) -> None:
    log.append([_event(number) for number in range(100)], NOW).result()

    _consumer(log, store).step()

    assert _stored(store, meter) == _everywhere(100)
    assert log.lag().records == 0


def test_a_plan_left_by_a_dead_process_is_run_once_more_and_changes_nothing_twice(
    log: SqliteLog, store: Store, meter: Meter, tmp_path: Path
) -> None:
    log.append([_event(number) for number in range(100)], NOW).result()
    consumer = _consumer(log, store)
    consumer.step()
    log.append([_event(number) for number in range(100, 150)], NOW).result()
    records = log.read(1000, 1 << 20, 0)
    plan = log.plan((Range(log.partition, 101, 151),), NOW)  # planned, inserted, not acknowledged
    consumer.writer.store(plan, consumer._decode(records, None))

    with _next_process(tmp_path) as next_log:
        _consumer(next_log, store)
        assert next_log.pending() == next_log.planned() == []

    assert _stored(store, meter) == _everywhere(150)


def test_an_insert_that_fails_between_two_tables_is_completed_by_its_retry(
    log: SqliteLog, store: Store, meter: Meter
) -> None:
    failures = metrics.INGEST_FAILURES._value.get()
    store.command(f"ALTER TABLE {meter.table('day')} ADD CONSTRAINT poison CHECK subject != 'u'")
    log.append([_event(number) for number in range(100)], NOW).result()
    stop = threading.Event()
    consumer = Consumer(log, store, IngestSettings(), stop)
    consumer.start()
    runner = threading.Thread(target=consumer.run)
    runner.start()
    _wait_for(lambda: metrics.INGEST_FAILURES._value.get() > failures)
    half = _stored(store, meter)

    store.command(f"ALTER TABLE {meter.table('day')} DROP CONSTRAINT poison")
    _wait_for(lambda: log.lag().records == 0)
    stop.set()
    runner.join()

    assert (half["events"], half["day"]) == (100, 0)  # the tables in between vary, because views run in parallel
    assert _stored(store, meter) == _everywhere(100)


def test_without_the_token_the_same_retry_would_count_twice(log: SqliteLog, store: Store, meter: Meter) -> None:
    """The token is necessary: two inserts of one block with two tokens are counted twice."""
    log.append([_event(1)], NOW).result()
    consumer = _consumer(log, store)
    batch = consumer._decode(log.read(10, 1000, 0), None)
    for start in (1, 2):
        consumer.writer.store(Plan((Range(log.partition, start, 9),), NOW), batch)

    assert _stored(store, meter) == _everywhere(2)


def test_a_duplicate_is_dropped_within_a_batch_across_batches_and_after_a_restart(
    log: SqliteLog, store: Store, meter: Meter
) -> None:
    log.append([_event(1), _event(1, data='{"v":999}'), _event(2)], NOW).result()
    consumer = _consumer(log, store)
    consumer.step()
    log.append([_event(2), _event(3)], NOW).result()
    consumer.step()
    log.append([_event(1), _event(2), _event(3), _event(4)], NOW).result()
    _consumer(log, store).step()

    assert _stored(store, meter) == _everywhere(4)


def test_a_new_log_beside_an_old_store_is_not_taken_for_the_old_one(
    log: SqliteLog, store: Store, meter: Meter, tmp_path: Path
) -> None:
    log.append([_event(1), _event(2)], NOW).result()
    _consumer(log, store).step()
    other = SqliteLog(tmp_path / "other.sqlite", max_bytes=1 << 30)

    other.append([_event(2), _event(3)], NOW).result()  # the offsets of the old log, an old and a new event
    _consumer(other, store).step()
    other.close()

    assert _stored(store, meter) == _everywhere(3)


def test_ids_and_sources_that_only_join_alike_are_not_duplicates(log: SqliteLog, store: Store) -> None:
    log.append([_event(0, id="c", source="a-b"), _event(0, id="b-c", source="a")], NOW).result()

    _consumer(log, store).step()

    assert store.rows("SELECT count() FROM events") == [(2,)]


def test_a_record_that_is_no_event_becomes_a_dead_letter_and_blocks_nothing(log: SqliteLog, store: Store) -> None:
    log.append([_event(1), b"garbage \xff", _event(2)], NOW).result()

    _consumer(log, store).step()

    assert store.rows("SELECT count() FROM events") == [(2,)]
    assert store.rows("SELECT log_offset, reason, hex(value) FROM dead_letters") == [
        (2, "not UTF-8: invalid start byte at byte 8", b"garbage \xff".hex().upper())
    ]


def test_a_dead_letter_is_kept_once_however_often_its_batch_is_run(
    log: SqliteLog, store: Store, tmp_path: Path
) -> None:
    log.append([_event(1), b"garbage"], NOW).result()
    consumer = _consumer(log, store)
    batch = consumer._decode(log.read(10, 1000, 0), None)
    plan = log.plan((Range(log.partition, 1, 3),), NOW)
    store.insert_block("dead_letters", dead_letter_block(batch.letters, plan.stored_ms), f"dead-{plan.token}")

    with _next_process(tmp_path) as next_log:  # the process died after storing the dead letters and before the events
        _consumer(next_log, store)

    assert store.rows("SELECT (SELECT count() FROM events), (SELECT count() FROM dead_letters)") == [(1, 1)]


def test_a_run_of_dead_letters_holds_the_log_before_anything_of_the_run_is_stored(
    log: SqliteLog, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """N21: before, such a run ended the process, together with its API."""
    log.append([_event(1), b"bad", b"bad", b"bad", _event(2)], NOW).result()
    consumer = _consumer(log, store, max_dead_letter_run=3)

    assert consumer.step()
    assert not consumer.step(0)

    counts = "SELECT (SELECT count() FROM events), (SELECT count() FROM dead_letters)"
    assert store.rows(counts) == [(1, 0)]
    assert (log.lag().records, log.waiting(), log.has_work()) == (4, 0, False)
    assert [(run.first, run.offset, run.records) for run in log.held()] == [(2, 2, 3)]
    assert "partition_held" in caplog.text
    assert "ingest.max_dead_letter_run above 3" in caplog.text
    log.append([_event(3)], NOW).result()
    assert not consumer.step(0)

    with _next_process(tmp_path) as next_log:  # with a larger limit
        consumer = _consumer(next_log, store)
        assert consumer.step()
        assert store.rows(counts) == [(3, 3)]


def test_bad_records_that_are_read_again_are_not_counted_twice(
    log: SqliteLog, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([b"bad", b"bad", _event(1), b"bad"], NOW).result()
    consumer = _consumer(log, store, max_dead_letter_run=3)
    with monkeypatch.context() as patched:
        patched.setattr(SqliteLog, "plan", lambda *_: None)  # as if another process had its partitions
        assert consumer.step()

    log.discard(Plan((Range(log.partition, 1, 5),), 0))
    assert consumer.step()

    assert store.rows("SELECT (SELECT count() FROM events), (SELECT count() FROM dead_letters)") == [(1, 3)]


def test_a_burst_of_old_events_is_split_by_months_and_counted_whole(log: SqliteLog, store: Store, meter: Meter) -> None:
    times = [f"{1975 + at // 12}-{at % 12 + 1:02d}-15T00:00:00Z" for at in range(200)]
    log.append([_event(at, time=time) for at, time in enumerate(times)], NOW).result()
    consumer = _consumer(log, store, batch_months=24)

    blocks = 0
    while consumer.step(wait_seconds=0):
        blocks += 1

    assert blocks == 9
    assert _stored(store, meter) == _everywhere(200)


@pytest.mark.parametrize(("records", "subjects", "padding"), [(100_000, 100_000, 0), (30_000, 50, 2000)])
def test_one_insert_is_one_part_in_every_table(
    log: SqliteLog, store: Store, meter: Meter, records: int, subjects: int, padding: int
) -> None:
    data = f'{{"v":2,"p":"{"x" * padding}"}}'
    log.append([_event(at, subject=f"u{at % subjects}", data=data) for at in range(records)], NOW).result()

    _consumer(log, store, batch_bytes=1 << 30).step()

    parts = store.rows(
        "SELECT table, min(min_block_number), max(max_block_number) FROM system.parts "
        "WHERE database = currentDatabase() AND active AND rows > 0 AND table IN "
        "('events', 'event_keys', 'meter_m_00000000_minute', 'meter_m_00000000_quarter', 'meter_m_00000000_day') "
        "GROUP BY table"
    )
    assert [last - first for _, first, last in parts] == [0, 0, 0, 0, 0]
    assert _stored(store, meter) == _everywhere(records)


def _wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.02)
