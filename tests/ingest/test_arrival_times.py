"""An impossible timestamp is not an arrival time: our own clock is used, with the same value in every rerun (N2)."""

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from engine import metrics
from engine.config.settings import IngestSettings
from engine.dead_letters.replay import check
from engine.events.arrival_limits import EARLIEST_CREDIBLE_MS, MAX_AHEAD_MS
from engine.events.cloudevents import TimeSpan
from engine.instants import Instant, milliseconds, utc_now
from engine.listings.log_position import LogPosition
from engine.store.clickhouse import Store
from ingest.arrival_times import TimestampReport, with_credible_arrivals
from ingest.consumer import Consumer
from ingest.dead_letters import DeadLetter, dead_letter_block
from ingest.decoding import decode_records
from ingest.event_log import Record, ranges_of
from ingest.kafka.log import KafkaLog
from tests.harness.topics import Topic, read, wait_for
from tests.ingest.conftest import OpenLog

YEAR_MS = 365 * 86_400_000
NONSENSE: dict[str, Callable[[int], int]] = {
    "seconds": lambda now_ms: now_ms // 1000,
    "microseconds": lambda now_ms: now_ms * 1000,
    "nanoseconds": lambda now_ms: now_ms * 1_000_000,
    "none": lambda now_ms: -1,  # noqa: ARG005 - TIMESTAMP_NOT_AVAILABLE
    "a year ahead": lambda now_ms: now_ms + YEAR_MS,
    "a clock never set": lambda now_ms: 946_684_800_000,  # noqa: ARG005 - 2000-01-01
}


@pytest.fixture
def protocol() -> str:
    return "consumer"


@pytest.fixture
def topic_options() -> dict[str, str]:
    """Return what makes a topic accept any timestamp, as with brokers before Kafka 4."""
    return {"message.timestamp.after.max.ms": str(2**63 - 1)}


def event(id_: str, time_ms: int | None = None) -> bytes:
    core = {"specversion": "1.0", "id": id_, "source": "s", "type": "call", "subject": "u"}
    timed = {} if time_ms is None else {"time": Instant(time_ms * 1_000_000).text}
    return json.dumps({**core, **timed}).encode()


def consume(log: KafkaLog, store: Store, condition: Callable[[], bool]) -> None:
    consumer = Consumer(log, store, IngestSettings(), threading.Event())
    consumer.start()
    wait_for(lambda: not consumer.step(0.1) and condition())


def stored(store: Store) -> list[tuple[str, int, int, int]]:
    """Return the id, time, arrival and stamp of each event."""
    return store.rows(
        "SELECT id, toUnixTimestamp64Milli(time), toUnixTimestamp64Milli(arrived_at), toUnixTimestamp64Milli(stored_at)"
        " FROM events ORDER BY id"
    )


def letters(store: Store) -> list[tuple[int, str, int, int]]:
    """Return the offset, reason, arrival and stamp of each dead letter."""
    return store.rows(
        "SELECT log_offset, reason, toUnixTimestamp64Milli(arrived_at), toUnixTimestamp64Milli(stored_at)"
        " FROM dead_letters ORDER BY log_offset"
    )


@pytest.mark.parametrize("claim", NONSENSE.values(), ids=NONSENSE)
def test_an_event_whose_timestamp_cannot_be_true_is_judged_by_our_clock(
    open_log: OpenLog, topic: Topic, store: Store, claim: Callable[[int], int]
) -> None:
    """Before, events were counted in 1970 and 2099, a valid one became a dead letter, and one of 2050 was counted."""
    began = milliseconds(utc_now())
    far = 2_524_608_000_000  # 2050-01-01
    topic.put(event("absent"), event("now", began), event("future", far), at_ms=claim(began))

    consume(open_log(), store, lambda: len(stored(store)) == 2)

    (_, absent_ms, absent_arrived, stamp), (_, now_ms, now_arrived, _) = stored(store)
    assert began <= stamp <= milliseconds(utc_now())
    assert (absent_ms, absent_arrived) == (stamp, stamp)
    assert (now_ms, now_arrived) == (began, stamp)
    assert letters(store) == [(2, "time is too far in the future", stamp, stamp)]


def test_a_timestamp_that_can_be_true_is_the_arrival(open_log: OpenLog, topic: Topic, store: Store) -> None:
    """Clocks differ a little, and a topic may be years old."""
    now = milliseconds(utc_now())
    claims = {"a": now - 10, "b": now + MAX_AHEAD_MS // 2, "c": now - 5 * YEAR_MS}
    for id_, claim in claims.items():
        topic.put(event(id_), at_ms=claim)

    consume(open_log(), store, lambda: len(stored(store)) == 3)

    assert {id_: (time_ms, arrived_ms) for id_, time_ms, arrived_ms, _ in stored(store)} == {
        id_: (claim, claim) for id_, claim in claims.items()
    }


@pytest.mark.parametrize("topic_options", [{"message.timestamp.type": "LogAppendTime"}])
def test_the_time_of_the_broker_is_taken_where_the_topic_says_so(open_log: OpenLog, topic: Topic, store: Store) -> None:
    """With LogAppendTime the topic does not keep the time of the producer."""
    began = milliseconds(utc_now())
    topic.put(event("a"), at_ms=began // 1000)

    consume(open_log(), store, lambda: len(stored(store)) == 1)

    [(_, time_ms, arrived_ms, stamp)] = stored(store)
    assert time_ms == arrived_ms
    assert began - MAX_AHEAD_MS < arrived_ms <= stamp


def test_a_plan_run_again_by_another_process_stores_the_same_rows(
    open_log: OpenLog, topic: Topic, store: Store
) -> None:
    """The first process dies between two inserts. The second must build the same rows with the same token."""
    now = milliseconds(utc_now())
    topic.put(event("absent"), event("now", now), event("future", now + YEAR_MS), b"garbage", at_ms=now // 1000)
    first = open_log()
    dying = Consumer(first, store, IngestSettings(), threading.Event())
    batch = dying._decode(read(first, 4), None)
    stamp = milliseconds(utc_now()) + 5
    plan = first.plan(ranges_of(batch.records), stamp)
    assert plan is not None
    dying.writer.store(plan, dying._decode_under_stamp(batch, plan))
    rows = stored(store), letters(store)
    first.close()

    with closing(KafkaLog(topic.settings())) as second:
        consume(second, store, lambda: second.pending() == [] and bool(second._assigned) and second.planned() == [])

    assert (stored(store), letters(store)) == rows
    assert rows[0] == [("absent", stamp, stamp, stamp), ("now", now, stamp, stamp)]
    assert [(offset, arrived_ms) for offset, _, arrived_ms, _ in rows[1]] == [(2, stamp), (3, stamp)]


def test_a_plan_that_nobody_has_begun_is_stored_under_its_own_stamp(
    open_log: OpenLog, topic: Topic, store: Store
) -> None:
    """The result has the same instant, whichever process runs the plan, and however much later."""
    now = milliseconds(utc_now())
    topic.put(event("absent"), at_ms=now // 1000)
    first = open_log()
    plan = first.plan(ranges_of(read(first, 1)), now - 60_000)
    assert plan is not None
    first.close()

    with closing(KafkaLog(topic.settings())) as second:
        consume(second, store, lambda: len(stored(store)) == 1)

    assert stored(store) == [("absent", now - 60_000, now - 60_000, now - 60_000)]


SPAN = TimeSpan.of(IngestSettings())


@pytest.mark.parametrize("ahead_ms", [0, 1, MAX_AHEAD_MS, MAX_AHEAD_MS + 1])
def test_a_batch_is_decoded_again_exactly_where_its_rows_depend_on_the_clock(ahead_ms: int) -> None:
    """A timestamp may be possible when it is read and impossible by the stamp, if a clock was set back in between."""
    read_ms = 1_767_225_600_000
    record = Record(0, 7, read_ms + ahead_ms, event("a"))

    batch = decode_records([record], SPAN, None, read_ms)

    for stamp_ms in (read_ms - 1, read_ms, read_ms + 1, read_ms + 10):
        again = decode_records([record], SPAN, None, stamp_ms)
        same = batch.events.columns.equals(again.events.columns)
        assert same or batch.depends_on(stamp_ms), stamp_ms
    assert batch.depends_on(read_ms) == (ahead_ms > MAX_AHEAD_MS)


def test_a_batch_that_is_decoded_again_counts_its_dead_letters_once(
    open_log: OpenLog, topic: Topic, store: Store
) -> None:
    topic.put(*[b"garbage"] * 3, event("a"), *[b"garbage"] * 3, at_ms=milliseconds(utc_now()) // 1000)
    consumer = Consumer(open_log(), store, IngestSettings(max_dead_letter_run=4), threading.Event())
    consumer.start()

    wait_for(lambda: not consumer.step(0.1) and len(letters(store)) == 6)

    assert len(stored(store)) == 1


@pytest.mark.parametrize("claimed_ms", [0, EARLIEST_CREDIBLE_MS - 1, 2**62])
def test_only_what_cannot_be_true_is_replaced(claimed_ms: int) -> None:
    now = 1_767_225_600_000
    true = [Record(0, at, claim, b"") for at, claim in enumerate([EARLIEST_CREDIBLE_MS, now, now + MAX_AHEAD_MS])]

    assert with_credible_arrivals(true, now) is true
    assert with_credible_arrivals([*true, Record(0, 3, claimed_ms, b"")], now) == [*true, Record(0, 3, now, b"")]


def test_the_delay_is_not_measured_from_a_timestamp_that_cannot_be_true(
    open_log: OpenLog, topic: Topic, store: Store
) -> None:
    """Before, the delay of one block was 1,794,129,146 seconds."""
    before = metrics.DELAY._sum.get()
    topic.put(event("a"), at_ms=milliseconds(utc_now()) // 1000)

    consume(open_log(), store, lambda: len(stored(store)) == 1)

    assert metrics.DELAY._sum.get() - before < 3600


def test_ignored_timestamps_are_counted_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now, before = 1_767_225_600_000, metrics.TIMESTAMPS_IGNORED._value.get()
    clock = [0.0]
    report = TimestampReport(lambda: clock[0])
    claimed = [Record(3, at, 1_767_225_600, b"") for at in range(7)] + [Record(3, 7, now, b"")]
    with caplog.at_level(logging.WARNING):
        for moment in (0.0, 1.0, 59.0, 61.0):
            clock[0] = moment
            report.add(claimed, with_credible_arrivals(claimed, now))
        report.add(claimed[7:], with_credible_arrivals(claimed[7:], now))

    said = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert said == [
        "timestamps_ignored records=7 partition=3 offset=0 timestamp=1767225600",
        "timestamps_ignored records=21 partition=3 offset=0 timestamp=1767225600",
    ]
    assert metrics.TIMESTAMPS_IGNORED._value.get() - before == 28


def test_a_topic_read_again_keeps_one_dead_letter_of_each_record(open_log: OpenLog, topic: Topic, store: Store) -> None:
    """The arrival is part of a dead letter's identity, and here it differs each time the topic is read."""
    topic.put(b"garbage", b"more", at_ms=milliseconds(utc_now()) // 1000)
    first = open_log()
    consume(first, store, lambda: len(letters(store)) == 2 and first.planned() == [])
    first.close()
    kept = letters(store)
    topic.commit({0: (0, "")})
    wait_for(lambda: milliseconds(utc_now()) > kept[0][3])

    with closing(KafkaLog(topic.settings())) as second:
        consume(second, store, lambda: topic_is_read(second))

    assert letters(store) == kept


def topic_is_read(log: KafkaLog) -> bool:
    return bool(log._assigned) and log.lag().records == 0


def test_a_letter_kept_with_an_impossible_arrival_is_replayed_with_the_time_it_was_stored(store: Store) -> None:
    """Earlier releases stored 1970 and 2099 as arrivals."""
    now = round(time.time() * 1000)
    records = [Record(0, 1, now // 1000, event("seconds")), Record(0, 2, 4_102_444_799_999, event("nanoseconds"))]
    block = dead_letter_block([DeadLetter(record, "a rule of then") for record in records], now - 1000)
    store.insert_block("dead_letters", block, "t")

    found = check(store, [LogPosition(record.arrived_ms, 0, record.offset) for record in records], now, SPAN)

    assert [json.loads(letter.event)["time"] for letter in found.sendable] == [
        Instant((now - 1000) * 1_000_000).text
    ] * 2
