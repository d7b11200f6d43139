"""The positions in the store are compared with the commits of the group: no gap stays unreported (N10, N37b).

Offsets expire, a process dies, or another topic gets the name. tests/ingest/test_exchanged_stores.py exchanges stores.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest
from confluent_kafka.admin import AdminClient

from engine import metrics
from engine.config.settings import IngestSettings
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.event_log import Plan, Range, ranges_of
from ingest.kafka.log import KafkaLog
from ingest.kafka.start_offsets import Gap, gap_between
from ingest.stored_positions import StoredPositions
from tests.harness.topics import Topic, read, wait_for
from tests.ingest.consumed_topics import GOOD, gap_lines, ids, put, reasons, run
from tests.ingest.gaps import gaps, gaps_before, protocol

__all__ = ["gaps_before", "protocol"]  # fixtures of another file


def forget_offsets(topic: Topic) -> None:
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    admin.delete_consumer_groups([topic.name])[topic.name].result(30)


def test_offsets_that_expired_with_unread_records_are_a_gap(
    topic: Topic, store: Store, caplog: pytest.LogCaptureFixture, gaps_before: float
) -> None:
    """N37b: before, 20 events were lost without a message after a stop longer than both retentions."""
    put(topic, *range(125))
    run(topic, store)
    put(topic, *range(125, 155))
    topic.delete_before({0: 145})
    forget_offsets(topic)

    run(topic, store)

    lost = "offsets 125 to 144 were deleted from the topic before they were read"
    assert ids(store) == [*range(125), *range(145, 155)]
    assert reasons(store) == [lost]
    assert gap_lines(caplog) == [lost]
    assert gaps() == gaps_before + 1


def test_offsets_that_expired_alone_are_no_gap(topic: Topic, store: Store, gaps_before: float) -> None:
    put(topic, *range(10))
    run(topic, store)
    put(topic, *range(10, 15))
    topic.delete_before({0: 10})
    forget_offsets(topic)

    run(topic, store)

    assert ids(store) == list(range(15))
    assert gaps() == gaps_before


def _dead_letters(topic: Topic) -> None:
    topic.put(*[b"garbage"] * 3, at_ms=milliseconds(utc_now()))


def _duplicates(topic: Topic) -> None:
    put(topic, 0, 1, 2)


def _aborted(topic: Topic) -> None:
    topic.put_in_transaction([GOOD % 90, GOOD % 91], "abort")


def _committed(topic: Topic) -> None:
    topic.put_in_transaction([GOOD % 3], "commit")


ENDS: dict[str, Callable[[Topic], None]] = {
    "dead letters": _dead_letters,
    "duplicates": _duplicates,
    "an aborted transaction": _aborted,
    "the end of a transaction": _committed,
    "nothing": lambda topic: None,  # noqa: ARG005
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("begin", ["", "an aborted transaction"])
def test_a_store_that_lacks_the_last_records_for_good_reasons_raises_no_alarm(
    topic: Topic, store: Store, end: Callable[[Topic], None], begin: str, gaps_before: float
) -> None:
    """N10: judged by the events alone, these offsets would look missing."""
    if begin:
        _aborted(topic)
    put(topic, 0, 1, 2)
    run(topic, store)
    for _ in range(2):
        end(topic)
        run(topic, store)
        duplicates = metrics.EVENTS_DUPLICATE._value.get()
        run(topic, store)
        assert metrics.EVENTS_DUPLICATE._value.get() == duplicates  # nothing is read again
    put(topic, 7)
    run(topic, store)

    assert gaps() == gaps_before
    assert 7 in ids(store)


def test_a_process_that_dies_at_any_moment_leaves_no_gap(topic: Topic, store: Store, gaps_before: float) -> None:
    """The position is stored before the offset is committed, never after."""
    put(topic, *range(5))
    positions = StoredPositions(store)
    with ExitStack() as ends:
        log = ends.enter_context(closing(KafkaLog(topic.settings(), positions=positions)))
        dying = Consumer(log, store, IngestSettings(), threading.Event())
        batch = dying._decode(read(log, 5), None)
        plan = log.plan(ranges_of(batch.records), milliseconds(utc_now()))
        assert plan is not None  # but it is not stored
    put(topic, 5, 6)
    with closing(KafkaLog(topic.settings(), positions=positions)) as log:
        dying = Consumer(log, store, IngestSettings(), threading.Event())
        dying.start()
        wait_for(lambda: dying.step(0.1) and len(ids(store)) == 7)  # the last batch may not be acknowledged

    run(topic, store)

    assert ids(store) == list(range(7))
    assert gaps() == gaps_before


def test_a_topic_made_anew_that_has_grown_past_the_old_offsets_is_read_from_its_beginning(
    topic: Topic, store: Store, broker: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Like N10: the offsets belong to a deleted topic with the same name."""
    put(topic, *range(10))
    run(topic, store)
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    commits = topic.committed()
    admin.delete_topics([topic.name])[topic.name].result(30)
    wait_for(lambda: topic.name not in admin.list_topics(timeout=10).topics)
    broker.create_topic(topic.name, 3)  # type: ignore[attr-defined]
    put(topic, *range(10, 30))
    topic.commit(commits)  # the group keeps its commits unless it is deleted

    run(topic, store)

    assert ids(store) == list(range(30))
    assert [line.partition(", but")[0] for line in gap_lines(caplog)] == ["the group has passed offsets 0 to 9"]


def test_a_topic_made_anew_while_the_log_runs_is_reported_once(
    topic: Topic, store: Store, broker: object, caplog: pytest.LogCaptureFixture
) -> None:
    put(topic, *range(10))
    run(topic, store)
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    commits = topic.committed()
    admin.delete_topics([topic.name])[topic.name].result(30)
    wait_for(lambda: topic.name not in admin.list_topics(timeout=10).topics)
    broker.create_topic(topic.name, 3)  # type: ignore[attr-defined]
    put(topic, *range(10, 13))
    topic.commit(commits)

    for _ in range(2):
        run(topic, store)

    assert ids(store) == list(range(13))
    assert len(gap_lines(caplog)) == 1


def test_another_topic_that_feeds_the_same_store_has_positions_of_its_own(
    topic: Topic, store: Store, broker: object, gaps_before: float
) -> None:
    other = Topic(topic.bootstrap, 3)
    broker.create_topic(other.name, 3)  # type: ignore[attr-defined]
    put(topic, *range(10))
    put(other, *range(100, 103))
    for turn in (topic, other, topic, other):
        run(turn, store)

    assert ids(store) == [*range(10), 100, 101, 102]
    assert gaps() == gaps_before


@pytest.mark.parametrize(
    ("committed", "position", "low", "gap"),
    [
        (-1, None, 5, None),
        (-1, 5, 5, None),
        (-1, 3, 5, Gap(3, 5)),
        (5, 5, 0, None),
        (5, 9, 0, None),
        (5, 3, 0, Gap(3, 5)),
        (5, 3, 4, Gap(3, 5)),
        (5, None, 0, Gap(0, 5)),
        (5, None, 5, None),
        (5, None, 7, None),
    ],
)
def test_a_gap_is_what_the_group_or_retention_has_passed_and_the_store_has_not(
    committed: int, position: int | None, low: int, gap: Gap | None
) -> None:
    assert gap_between(committed, position, low) == gap


def test_nothing_is_planned_of_a_partition_before_it_was_compared(topic: Topic, store: Store) -> None:
    """Otherwise the end of the plan would be stored as the position and hide the gap."""
    put(topic, 0)
    with closing(KafkaLog(topic.settings(), positions=StoredPositions(store))) as log:
        records = read(log, 1)
        log._position_check.uncompared = {0: 1}
        assert log.plan(ranges_of(records), 5000) is None
        assert log.plan((Range(0, 0, 1),), 5000) is None
        log._position_check.uncompared = {}
        assert log.plan(ranges_of(records), 5000) == Plan((Range(0, 0, 1),), 5000)
