"""Brokers that hang, die, start late or are too old, and a paused process: no plan is lost, no record is skipped.

These tests have their own broker, because they stop and kill it.
"""

import logging
import time
from contextlib import closing
from pathlib import Path

import pytest

from engine.config.settings import Settings
from engine.errors import LogFailed, LogUnavailable
from engine.store.clickhouse import Store
from ingest.event_log import Plan, Range, ranges_of
from ingest.kafka.log import KafkaLog
from ingest.kafka.plans import to_metadata
from tests.harness.broker import Broker, create_topic
from tests.harness.own_broker import broker, hang, process
from tests.harness.topics import Topic, read, retry_until_answered, values, wait_for, wait_for_assignment
from tests.ingest.conftest import OpenLog
from tests.ingest.kafka.filled_topics import put_two_each
from tests.ingest.kafka.monitored import monitored, reasons
from tests.ingest.kafka.zombie import child

__all__ = ["broker", "process"]  # fixtures of another file

IMPATIENT = {"socket_timeout_ms": "1000"}


@pytest.fixture(autouse=True)
def quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("client", "commit_request", "consumer_group", "planned_records"):
        monkeypatch.setattr(f"ingest.kafka.{module}.ANSWER_TIMEOUT_SECONDS", 1)


def test_a_commit_that_is_not_answered_is_settled_by_planning_again(
    open_log: OpenLog, topic: Topic, process: Broker
) -> None:
    put_two_each(topic)
    log = open_log(**IMPATIENT)
    batch = read(log, 6)

    hang(process)
    with pytest.raises(LogUnavailable):
        log.plan(ranges_of(batch), 5000)
    process.continue_()
    plan = retry_until_answered(lambda: log.plan(ranges_of(batch), 9000))

    # Other processes may have seen the stamp, so it must be the same.
    assert plan == Plan((Range(0, 0, 2), Range(1, 0, 2), Range(2, 0, 2)), 5000)
    assert topic.committed() == dict.fromkeys(range(3), (0, to_metadata(plan)))
    assert (log.planned(), log.pending()) == ([plan], [])
    assert log.read(10, 1000, 0.2) == []


def test_an_acknowledgement_that_is_not_answered_is_made_again(
    open_log: OpenLog, topic: Topic, process: Broker
) -> None:
    put_two_each(topic)
    log = open_log(**IMPATIENT)
    plan = log.plan(ranges_of(read(log, 6)), 5000)
    assert plan is not None

    hang(process)
    with pytest.raises(LogUnavailable):
        log.acknowledge(plan)
    process.continue_()
    retry_until_answered(lambda: log.acknowledge(plan))

    assert topic.committed() == dict.fromkeys(range(3), (2, ""))
    assert log.planned() == []


def test_a_commit_that_is_not_answered_before_a_partition_is_taken_away_is_settled_by_what_is_committed(
    open_log: OpenLog, topic: Topic, process: Broker
) -> None:
    """If it was committed, the owners of its partitions run it; if not, its records are read again. Either way once."""
    put_two_each(topic)
    log = open_log(**IMPATIENT)
    batch = read(log, 6)
    hang(process)
    with pytest.raises(LogUnavailable):
        log.plan(ranges_of(batch), 5000)
    process.continue_()
    taker = open_log()
    kept, _ = wait_for_assignment(log, taker)

    hang(process)
    with pytest.raises(LogUnavailable):  # the outcome of the commit is unknown now
        log.plan(ranges_of(batch), 9000)
    process.continue_()
    assert retry_until_answered(lambda: log.plan(ranges_of(batch), 9000)) is None

    commits = topic.committed()
    if commits:  # the broker has stored the commit
        plan = Plan((Range(0, 0, 2), Range(1, 0, 2), Range(2, 0, 2)), 5000)
        assert commits == dict.fromkeys(range(3), (0, to_metadata(plan)))
        assert retry_until_answered(log.pending) == taker.pending() == [plan]
        assert log.read(10, 1000, 0.5) == taker.read(10, 1000, 0.5) == []
    else:
        assert retry_until_answered(log.pending) == taker.pending() == []
        assert read(log, 2 * len(kept)) == [record for record in batch if record.partition in kept]


def test_a_log_is_closed_though_a_commit_is_not_answered(open_log: OpenLog, topic: Topic, process: Broker) -> None:
    put_two_each(topic)
    log = open_log(**IMPATIENT)
    batch = read(log, 6)
    hang(process)
    with pytest.raises(LogUnavailable):
        log.plan(ranges_of(batch), 5000)

    log.close()  # before the broker can answer

    process.continue_()
    following = open_log()
    wait_for_assignment(following)
    [plan] = following.pending() or [Plan((Range(0, 0, 2), Range(1, 0, 2), Range(2, 0, 2)), 5000)]
    assert following.reread(plan) == batch


@pytest.mark.parametrize(
    ("protocol", "group"),
    [
        ("consumer", "goes on"),
        ("classic", "begins anew"),
        pytest.param("consumer", "begins anew", marks=pytest.mark.only_long),
        pytest.param("classic", "goes on", marks=pytest.mark.only_long),
    ],
)
def test_a_broker_killed_between_reading_and_planning_is_planned_on_when_it_is_back(
    open_log: OpenLog, topic: Topic, process: Broker, group: str
) -> None:
    """The group may also start again by itself. The commit arrives late, or has failed if that took long."""
    put_two_each(topic)
    log = open_log(**IMPATIENT)
    batch = read(log, 6)

    process.kill()
    with pytest.raises(LogUnavailable):
        log.plan(ranges_of(batch), 5000)
    process.start()
    if group == "begins anew":
        wait_for(lambda: not log._member.commit_unanswered)
        taker = open_log()
        retry_until_answered(lambda: wait_for_assignment(log, taker))
        taker.close()

    plan = retry_until_answered(lambda: log.plan(ranges_of(batch), 6000))
    if plan is None:
        retry_until_answered(lambda: wait_for_assignment(log))
        plan = next(iter(log.pending()), None)
    if plan is None:
        assert read(log, 6) == batch
        plan = retry_until_answered(lambda: log.plan(ranges_of(batch), 7000))
    assert plan is not None
    assert topic.committed() == dict.fromkeys(range(3), (0, to_metadata(plan)))
    assert retry_until_answered(log.planned) == [plan]
    retry_until_answered(lambda: log.acknowledge(plan))  # refused once if the group starts again now
    topic.put(b"c")
    assert values(read(log, 1)) == [b"c"]


def test_a_broker_that_hangs_while_partitions_are_given_is_waited_for(
    open_log: OpenLog, topic: Topic, process: Broker
) -> None:
    put_two_each(topic)
    log = open_log(**IMPATIENT)
    hang(process)
    time.sleep(2)
    process.continue_()

    assert len(read(log, 6)) == 6


def test_a_consumer_that_gets_no_answer_while_partitions_are_given_is_replaced(
    topic: Topic, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unanswered(*_: object) -> None:
        raise LogUnavailable("no answer")

    monkeypatch.setattr("ingest.kafka.consumer_group._ASSIGNMENT_SECONDS", 1)
    put_two_each(topic)
    with monkeypatch.context() as silence:
        silence.setattr("ingest.kafka.consumer_group.GroupMember.committed", unanswered)
        log = KafkaLog(topic.settings(protocol))
        log.pending()  # it joins
        first = log._member._consumer
        assert first is not None
        wait_for(lambda: log.read(10, 1000, 0.1) == [] and log._member._consumer is not first)

    with closing(log):
        assert len(read(log, 6)) == 6


def test_a_gap_that_brokers_do_not_explain_at_once_loses_nothing_read_before_it(
    open_log: OpenLog, topic: Topic, process: Broker
) -> None:
    topic.put(b"a", b"b")
    topic.put(b"x", partition=1)
    log = open_log(**IMPATIENT)
    read(log, 3)
    wait_for(lambda: log._member._paused)  # nothing is fetched while the process does not read
    with log._member._lock:
        topic.put(*[b"%d" % number for number in range(50)], partition=1)
        topic.put(*[b"%d" % number for number in range(2, 10)])
        topic.delete_before({0: 6})
        log._member.resume()
        time.sleep(1)  # by then the records of one partition have arrived, and the end of the other partition
        hang(process)

        with pytest.raises(LogUnavailable):
            while True:
                log.read(1000, 1 << 20, 0.5)

    process.continue_()
    records = read(log, 3 + 50 + 5)
    assert [record.offset for record in records] == [0, 1, 5, 6, 7, 8, 9, *range(51)]


@pytest.mark.parametrize(
    ("protocol", "late", "then"),
    [  # each two of the values are together in the short form, too
        ("consumer", "acknowledge", "stays"),
        ("consumer", "plan", "leaves"),
        ("classic", "acknowledge", "leaves"),
        ("classic", "plan", "stays"),
        pytest.param("consumer", "acknowledge", "leaves", marks=pytest.mark.only_long),
        pytest.param("consumer", "plan", "stays", marks=pytest.mark.only_long),
        pytest.param("classic", "acknowledge", "stays", marks=pytest.mark.only_long),
        pytest.param("classic", "plan", "leaves", marks=pytest.mark.only_long),
    ],
)
def test_a_process_that_wakes_up_late_moves_nothing(
    topic: Topic, protocol: str, open_log: OpenLog, late: str, then: str
) -> None:
    """It was paused for longer than its session. Another process has taken its partitions and continued."""
    put_two_each(topic)
    with child(topic, protocol, late) as zombie:
        assert zombie.line() == "planned v1;5000;0:0+2,1:0+2,2:0+2"
        topic.put(b"c")
        assert zombie.line() == "read 0:2"
        zombie.pause()
        log = open_log()
        wait_for_assignment(log)
        [plan] = log.pending()
        log.acknowledge(plan)
        further = log.plan(ranges_of(read(log, 1)), 6000)
        assert further is not None
        log.acknowledge(further)
        commits = topic.committed()
        assert commits == {0: (3, ""), 1: (2, ""), 2: (2, "")}
        if then == "leaves":
            log.close()

        zombie.wake()

        assert zombie.line() == {"acknowledge": "acknowledged", "plan": "planned None"}[late]
        assert topic.committed() == commits
        log.close()
        topic.put(b"d")
        assert zombie.line() == "read 0:3"
    assert topic.committed() == commits


def test_nobody_reads_and_the_membership_lives(open_log: OpenLog, topic: Topic) -> None:
    """This lasts longer than the limit for a consumer that does not poll, as when the store does not answer."""
    put_two_each(topic)
    log = open_log(max_poll_interval_ms="6000")
    batch = read(log, 6)

    time.sleep(9)

    assert log.plan(ranges_of(batch), 5000) == Plan((Range(0, 0, 2), Range(1, 0, 2), Range(2, 0, 2)), 5000)
    topic.put(b"c")
    assert values(read(log, 1)) == [b"c"]


def test_brokers_without_the_newer_group_protocol_get_the_older_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old = Broker(tmp_path, {"group.coordinator.rebalance.protocols": "classic"})
    old.start()
    try:
        topic = Topic(old.bootstrap, 3)
        create_topic(old.bootstrap, topic.name, 3)
        put_two_each(topic)
        log = KafkaLog(topic.settings("auto"))

        batch = read(log, 6)

        assert caplog.text.count("group_protocol_changed protocol=classic") == 1
        plan = log.plan(ranges_of(batch), 5000)
        assert log.planned() == [plan]
        log.close()
        refused = KafkaLog(topic.settings("consumer"))
        with pytest.raises(LogFailed, match="API version not supported"):
            refused.read(10, 1000, 10)
        refused.close()
    finally:
        old.kill()


def test_brokers_that_never_answered_make_a_process_unready_at_once(
    process: Broker, topic: Topic, store: Store, settings: Settings
) -> None:
    """They may be the wrong ones, and a rollout would go on to the next process."""
    process.kill()
    with monitored(topic, store, settings) as (health, log):
        readiness = health.readiness()
        assert {away.name for away in readiness.away} == {"kafka-producer", "kafka-consumer"}
        assert "the brokers do not answer" in readiness.reason
        assert readiness.works == ["queries"]

        process.start()

        wait_for(lambda: not reasons(health, log), lambda: health.readiness().reason)
