"""The positions in the store are compared with the commits of the group: no gap stays unreported (N10, N37b).

The store and the offsets of the group are restored, emptied and exchanged separately, as by backups and retention.
"""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from engine import metrics
from engine.config.kafka_settings import KafkaSettings
from engine.config.settings import IngestSettings, Settings
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.store.opening import open_store
from ingest.consumer import Consumer
from ingest.event_log import Plan, Range, ranges_of
from ingest.kafka.log import KafkaLog
from ingest.kafka.start_offsets import Gap, gap_between
from ingest.stored_positions import StoredPositions
from tests.harness.server import Server
from tests.harness.topics import CLASSIC, Topic, read, wait_for

GOOD = b'{"specversion":"1.0","id":"%d","source":"s","type":"call","subject":"u"}'
TABLES = ("events", "event_keys", "dead_letters", "event_claims", "log_positions")


@pytest.fixture
def protocol() -> str:
    return "consumer"


@pytest.fixture(autouse=True)
def gaps_before() -> float:
    return _gaps()


def _gaps() -> float:
    return float(metrics.LOG_GAPS._value.get())


@pytest.fixture
def other_store(settings: Settings) -> Iterator[Store]:
    """Another, empty database, as in a new data directory."""
    database = f"{settings.store.database}_other"
    changed = settings.model_copy(update={"store": settings.store.model_copy(update={"database": database})})
    opened = open_store(changed)
    migrate(opened, changed)
    yield opened
    opened.command(f"DROP DATABASE {database} SYNC")
    opened.close()


def copy(store: Store, to: Store) -> None:
    """Copy the contents of `store` to `to`, as a backup or a restore does."""
    source = store.rows("SELECT currentDatabase()")[0][0]
    for table in TABLES:
        to.command(f"TRUNCATE TABLE {table}")
    for table in TABLES:
        if table != "event_keys":  # its view fills this table
            to.command(f"INSERT INTO {table} SELECT * FROM {source}.{table}")


def put(topic: Topic, *numbers: int, partition: int = 0) -> None:
    topic.put(*[GOOD % number for number in numbers], partition=partition, at_ms=milliseconds(utc_now()))


def run(topic: Topic, store: Store, **settings: object) -> None:
    """Run one process of the group until it has stored everything, and end it."""
    chosen: KafkaSettings = topic.settings().model_copy(update=settings)
    with closing(KafkaLog(chosen, positions=StoredPositions(store))) as log:
        consumer = Consumer(log, store, IngestSettings(), threading.Event())
        consumer.start()
        wait_for(lambda: not consumer.step(0.1) and len(log._assigned) == topic.partitions and log.waiting() == 0)
        consumer._acknowledge()


def forget_offsets(topic: Topic) -> None:
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    admin.delete_consumer_groups([topic.name])[topic.name].result(30)


def ids(store: Store) -> list[int]:
    return [int(id_) for (id_,) in store.rows("SELECT id FROM events ORDER BY toInt64(id)")]


def reasons(store: Store) -> list[str]:
    return [reason for (reason,) in store.rows("SELECT reason FROM dead_letters ORDER BY log_partition, log_offset")]


def gap_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    return [line.partition(": ")[2] for line in lines if line.startswith("log_gap")]


def test_an_older_copy_of_the_store_is_read_up_to_date_and_the_gap_reported(
    topic: Topic, store: Store, other_store: Store, caplog: pytest.LogCaptureFixture, gaps_before: float
) -> None:
    """N10: before, 100 of 300 events were missing, and the process was ready without a message."""
    put(topic, *range(100))
    run(topic, store)
    copy(store, other_store)
    put(topic, *range(100, 200))
    run(topic, store)
    assert (len(ids(store)), _gaps()) == (200, gaps_before)

    copy(other_store, store)
    put(topic, *range(200, 300))
    run(topic, store)

    assert ids(store) == list(range(300))
    assert gap_lines(caplog) == [
        "the group has passed offsets 100 to 199, but the store has not stored them: it is an older copy or another "
        "store; they are read again"
    ]
    assert _gaps() == gaps_before + 1
    assert reasons(store) == []
    run(topic, store)
    assert _gaps() == gaps_before + 1  # it is reported once


def test_a_data_directory_put_back_from_a_backup_is_read_up_to_date(topic: Topic, tmp_path: Path) -> None:
    """N10 as it was reported: stop, restore the copy, start."""
    variables = {
        "METERPORT_KAFKA__BROKERS": topic.bootstrap,
        "METERPORT_KAFKA__TOPIC": topic.name,
        "METERPORT_KAFKA__GROUP": topic.name,
        "METERPORT_KAFKA__GROUP_PROTOCOL": "classic",
        "METERPORT_KAFKA__OPTIONS": json.dumps(CLASSIC),
    }
    server = Server(tmp_path, variables=variables)

    def serve_until(count: int) -> None:
        server.start()
        wait_for(lambda: len(httpx.get(f"{server.url}/api/v1/events").json()) == count)
        assert server.terminate() == 0

    put(topic, 0, 1, 2)
    serve_until(3)
    shutil.copytree(tmp_path / "data", tmp_path / "backup", symlinks=True)
    put(topic, 3, 4)
    serve_until(5)
    assert "log_gap" not in server.log.read_text()

    shutil.rmtree(tmp_path / "data")
    (tmp_path / "backup").rename(tmp_path / "data")
    put(topic, 5)
    serve_until(6)

    assert server.log.read_text().count("log_gap") == 1


def test_what_the_topic_no_longer_has_of_a_gap_is_reported_as_lost(
    topic: Topic, store: Store, other_store: Store, caplog: pytest.LogCaptureFixture, gaps_before: float
) -> None:
    put(topic, *range(10))
    run(topic, store)
    copy(store, other_store)
    put(topic, *range(10, 30))
    run(topic, store)

    copy(other_store, store)
    topic.delete_before({0: 15})
    run(topic, store)

    lost = "offsets 10 to 14 were deleted from the topic before they were read"
    assert ids(store) == [*range(10), *range(15, 30)]
    assert reasons(store) == [lost]
    assert [line[: len(lost)] for line in gap_lines(caplog)] == [
        lost,
        "the group has passed offsets 15 to 29, but the store has not stored them: "[: len(lost)],
    ]
    assert _gaps() == gaps_before + 2


def test_an_empty_store_with_an_old_group_is_filled_from_the_topic(
    topic: Topic, store: Store, other_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """N10: before, 0 of 300 events were there, also without a message."""
    for partition in range(3):
        put(topic, *range(10 * partition, 10 * partition + 10), partition=partition)
    run(topic, store)
    assert len(ids(store)) == 30

    run(topic, other_store)

    assert ids(other_store) == list(range(30))
    assert len(gap_lines(caplog)) == 3
    assert all("the group has passed offsets 0 to 9, but the store" in line for line in gap_lines(caplog))


def test_two_stores_that_share_a_group_miss_nothing(topic: Topic, store: Store, other_store: Store) -> None:
    """N10: before, each store had only a part of the usage."""
    for at, turn in enumerate([store, other_store, store, other_store]):
        put(topic, at)
        run(topic, turn)

    assert ids(store) == [0, 1, 2]
    assert ids(other_store) == [0, 1, 2, 3]


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
    assert _gaps() == gaps_before + 1


def test_offsets_that_expired_alone_are_no_gap(topic: Topic, store: Store, gaps_before: float) -> None:
    put(topic, *range(10))
    run(topic, store)
    put(topic, *range(10, 15))
    topic.delete_before({0: 10})
    forget_offsets(topic)

    run(topic, store)

    assert ids(store) == list(range(15))
    assert _gaps() == gaps_before


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

    assert _gaps() == gaps_before
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
    assert _gaps() == gaps_before


def test_a_gap_before_a_plan_that_is_inherited_is_read_after_it(
    topic: Topic, store: Store, other_store: Store, gaps_before: float
) -> None:
    """Neither the end of the plan nor a process that dies in between may hide records that the store lacks."""
    put(topic, *range(10))
    run(topic, store)
    copy(store, other_store)
    put(topic, *range(10, 20))
    run(topic, store)
    put(topic, *range(20, 25))
    with closing(KafkaLog(topic.settings(), positions=StoredPositions(store))) as log:
        plan = log.plan(ranges_of(read(log, 5)), milliseconds(utc_now()))
        assert plan is not None

    copy(other_store, store)
    with closing(KafkaLog(topic.settings(), positions=StoredPositions(store))) as log:
        consumer = Consumer(log, store, IngestSettings(), threading.Event())
        wait_for(lambda: bool(log.pending()))
        consumer._finish_pending()
        assert log.planned() == []
        assert ids(store) == [*range(10), *range(20, 25)]
    run(topic, store)

    assert ids(store) == list(range(25))
    assert _gaps() >= gaps_before + 1


def test_a_store_that_metered_something_else_reads_the_whole_topic(
    topic: Topic, store: Store, caplog: pytest.LogCaptureFixture, gaps_before: float
) -> None:
    """Its events may be those of an SQLite log. The offsets of the group say how far another store is."""
    elsewhere = decode_event(GOOD % 90, milliseconds(utc_now()), 0, 0, TimeSpan.of(IngestSettings()))
    store.insert_block("events", event_block([elsewhere], milliseconds(utc_now())), "elsewhere")
    put(topic, *range(10))
    topic.commit({0: (10, "")})

    run(topic, store)

    assert ids(store) == [*range(10), 90]
    assert gap_lines(caplog) == [
        "the group has passed offsets 0 to 9, but the store has not stored them: it is an older copy or another store; "
        "they are read again"
    ]
    assert _gaps() == gaps_before + 1


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


def test_an_empty_store_runs_a_plan_of_the_old_group_and_reads_what_comes_before_it(
    topic: Topic, store: Store, other_store: Store, gaps_before: float
) -> None:
    """The plan runs before partitions are assigned. Its rows must not make the store look like an old one."""
    put(topic, *range(10))
    run(topic, store)
    put(topic, 10, 11)
    with closing(KafkaLog(topic.settings(), positions=StoredPositions(store))) as log:
        assert log.plan(ranges_of(read(log, 2)), milliseconds(utc_now())) is not None

    run(topic, other_store)

    assert ids(other_store) == list(range(12))
    assert _gaps() == gaps_before + 1


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
    assert _gaps() == gaps_before


def test_with_trust_in_offsets_reading_goes_on_there_and_the_gap_is_a_dead_letter(
    topic: Topic, store: Store, other_store: Store, gaps_before: float
) -> None:
    """This is for a topic whose history is not wanted. A gap of a known partition is still reported."""
    put(topic, *range(10))
    topic.commit({0: (5, "")})
    run(topic, store, trust_offsets=True)
    assert ids(store) == [5, 6, 7, 8, 9]
    assert _gaps() == gaps_before
    copy(store, other_store)
    put(topic, *range(10, 20))
    run(topic, store, trust_offsets=True)
    copy(other_store, store)
    put(topic, 20)

    run(topic, store, trust_offsets=True)

    assert ids(store) == [5, 6, 7, 8, 9, 20]
    assert reasons(store) == [
        "offsets 10 to 19 were passed by the group but not stored here; they are not read, because kafka.trust_offsets "
        "is set"
    ]
    assert _gaps() == gaps_before + 1
    run(topic, store)
    assert _gaps() == gaps_before + 1


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
