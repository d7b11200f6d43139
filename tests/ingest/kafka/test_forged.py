"""Commits of other programs to the group are removed, on real brokers.

Case S8 of the security audit, docs/design.md R6c. tests/ingest/test_forged_plans.py tests the orders of steps.
"""

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException

from engine import metrics
from engine.config.settings import IngestSettings
from engine.errors import LogUnavailable
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.event_log import Plan
from tests.harness.topics import Topic, read, values, wait_for, wait_for_assignment
from tests.ingest.conftest import OpenLog

IN_2096 = 4_000_000_000_000


def event(id_: str) -> bytes:
    return f'{{"specversion":"1.0","id":"{id_}","source":"s","type":"call","subject":"u"}}'.encode()


def refused() -> float:
    return float(metrics.PLANS_REFUSED._value.get())


def answered(ask: Callable[[], list[Plan]]) -> list[Plan]:
    """Return the answer of the broker. Retry while the group's coordinator moves."""
    found: list[list[Plan]] = []

    def asked() -> bool:
        try:
            found.append(ask())
        except LogUnavailable:
            return False
        return True

    wait_for(asked)
    return found[0]


def forge(topic: Topic, metadata: str) -> None:
    """Commit the metadata of another program for the first partition."""

    def committed() -> bool:
        try:
            topic.commit({0: (0, metadata)})
        except KafkaException:  # the coordinator moved: try again
            return False
        return True

    wait_for(committed)


@pytest.mark.parametrize(
    "metadata",
    ["v1;9999999999999999999;0:0+5", "v1;4102444800000;0:0+2", "v1;1;0:0+9999999999999999999", "v1;1;0:0+1,0:0+1"],
    ids=["a stamp of no integer", "a stamp past 2099", "a range of no topic", "a partition twice"],
)
def test_a_commit_with_numbers_of_no_plan_is_told_and_reading_goes_on(
    open_log: OpenLog, topic: Topic, metadata: str
) -> None:
    """S8: before, it ended the process at each start."""
    topic.put(b"a", b"b")
    forge(topic, metadata)
    before = refused()
    log = open_log()
    wait_for_assignment(log)

    assert answered(lambda: [*log.pending(), *log.planned()]) == []
    assert refused() > before
    assert values(read(log, 2)) == [b"a", b"b"]


@pytest.mark.parametrize("records", [3, 0], ids=["of records", "of no records"])
def test_a_plan_of_the_far_future_is_taken_off_its_partition(
    store: Store, open_log: OpenLog, topic: Topic, records: int
) -> None:
    """S8: before, new meters waited for such a plan."""
    topic.put(*map(event, "abc"[:records]))
    forge(topic, f"v1;{IN_2096};0:0+5")
    before = refused()
    log = open_log()
    consumer = Consumer(log, store, IngestSettings(), threading.Event())
    consumer.start()

    def ingested() -> bool:
        consumer.step(0.1)
        return answered(log.planned) == [] and refused() > before and log.lag().records == 0

    wait_for(ingested)

    assert store.rows("SELECT count() FROM events")[0][0] == records
    newest = store.rows("SELECT toUnixTimestamp64Milli(max(stored_at)) FROM events")[0][0]
    assert newest <= milliseconds(utc_now())
    assert topic.committed()[0] == (records, "")
