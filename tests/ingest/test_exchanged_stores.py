"""A store that is an older copy, empty or another one than the group's: its gap is reported and read again (N10).

The store and the offsets of the group are restored, emptied and exchanged separately, as by backups and retention.
"""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from engine.config.settings import IngestSettings, Settings
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.store.opening import open_store
from ingest.consumer import Consumer
from ingest.event_log import ranges_of
from ingest.kafka.log import KafkaLog
from ingest.stored_positions import StoredPositions
from tests.harness.server import Server
from tests.harness.topics import CLASSIC, Topic, read, wait_for
from tests.ingest.consumed_topics import GOOD, gap_lines, ids, put, reasons, run
from tests.ingest.gaps import gaps, gaps_before, protocol

__all__ = ["gaps_before", "protocol"]  # fixtures of another file

TABLES = ("events", "event_keys", "dead_letters", "event_claims", "log_positions")


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


def test_an_older_copy_of_the_store_is_read_up_to_date_and_the_gap_reported(
    topic: Topic, store: Store, other_store: Store, caplog: pytest.LogCaptureFixture, gaps_before: float
) -> None:
    """N10: before, 100 of 300 events were missing, and the process was ready without a message."""
    put(topic, *range(100))
    run(topic, store)
    copy(store, other_store)
    put(topic, *range(100, 200))
    run(topic, store)
    assert (len(ids(store)), gaps()) == (200, gaps_before)

    copy(other_store, store)
    put(topic, *range(200, 300))
    run(topic, store)

    assert ids(store) == list(range(300))
    assert gap_lines(caplog) == [
        "the group has passed offsets 100 to 199, but the store has not stored them: it is an older copy or another "
        "store; they are read again"
    ]
    assert gaps() == gaps_before + 1
    assert reasons(store) == []
    run(topic, store)
    assert gaps() == gaps_before + 1  # it is reported once


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
    assert gaps() == gaps_before + 2


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
    assert gaps() >= gaps_before + 1


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
    assert gaps() == gaps_before + 1


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
    assert gaps() == gaps_before + 1


def test_with_trust_in_offsets_reading_goes_on_there_and_the_gap_is_a_dead_letter(
    topic: Topic, store: Store, other_store: Store, gaps_before: float
) -> None:
    """This is for a topic whose history is not wanted. A gap of a known partition is still reported."""
    put(topic, *range(10))
    topic.commit({0: (5, "")})
    run(topic, store, trust_offsets=True)
    assert ids(store) == [5, 6, 7, 8, 9]
    assert gaps() == gaps_before
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
    assert gaps() == gaps_before + 1
    run(topic, store)
    assert gaps() == gaps_before + 1
