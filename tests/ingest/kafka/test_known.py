"""What a process knows about its partitions of the topic: it reports no number that it has not received (N22)."""

import math
from collections.abc import Iterable
from contextlib import closing

import pytest

from ingest.kafka.log import KafkaLog
from tests.harness.broker import Kafka
from tests.harness.topics import Topic, assigned_partitions, require_real_broker, wait_for

LOOK_SECONDS = 1.0


@pytest.fixture
def single(broker: Kafka) -> Topic:
    """Return a topic with one partition."""
    made = Topic(require_real_broker(broker).bootstrap, 1)
    broker.create_topic(made.name, 1)
    return made


def test_a_member_that_the_group_gives_no_partition_is_a_member_nevertheless(single: Topic, protocol: str) -> None:
    """It is a standby member: it is ready, and its lag is 0."""
    with (
        closing(KafkaLog(single.settings(protocol), end_query_seconds=LOOK_SECONDS)) as one,
        closing(KafkaLog(single.settings(protocol), end_query_seconds=LOOK_SECONDS)) as other,
    ):
        logs = (one, other)
        wait_for(
            lambda: (
                sorted(assigned_partitions(log) for log in logs) == [[], [0]]
                and all(log.monitor.is_member for log in logs)
            )
        )
        [standby] = [log for log in logs if not assigned_partitions(log)]
        single.put(b"a")

        wait_for(lambda: standby.read(10, 1 << 20, 0.1) == [] and standby.lag().records == standby.partitions() == 0)
        assert standby.monitor.outside_group_seconds == 0


def test_the_lag_of_a_process_that_has_not_joined_is_not_known(single: Topic) -> None:
    with closing(KafkaLog(single.settings())) as log:
        assert math.isnan(log.lag().records)
        assert math.isnan(log.partitions())


def test_a_topic_in_which_nothing_happens_is_asked_about_and_its_lag_is_known(single: Topic, protocol: str) -> None:
    """librdkafka reports nothing to its client if a fetch brings no records."""
    with closing(KafkaLog(single.settings(protocol), end_query_seconds=LOOK_SECONDS)) as log:
        wait_for(lambda: assigned_partitions(log) == [0])
        wait_for(lambda: log.read(10, 1 << 20, 0.1) == [] and log.lag().records == 0)
        heard = log.monitor.all_heard_since

        wait_for(lambda: log.read(10, 1 << 20, 0.1) == [] and log.monitor.all_heard_since > heard)
        assert log.partitions() == 1


def test_a_question_that_may_still_be_answered_is_no_silence(single: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the first question after a thread has waited for the store would count as a long silence."""
    silence: list[float] = []
    with closing(KafkaLog(single.settings(), end_query_seconds=0.2)) as log:
        ends = log._member.ends

        def noted(partitions: Iterable[int], seconds: float) -> dict[int, int]:
            silence.append(log.monitor.silent_seconds)
            return ends(partitions, seconds)

        monkeypatch.setattr(log._member, "ends", noted)
        wait_for(lambda: assigned_partitions(log) == [0])
        wait_for(lambda: len(silence) >= 5)

    assert min(silence) == 0


def test_the_lag_grows_while_nobody_reads(single: Topic) -> None:
    """As while the store does not answer."""
    with closing(KafkaLog(single.settings(), end_query_seconds=LOOK_SECONDS)) as log:
        wait_for(lambda: assigned_partitions(log) == [0])
        single.put(*[b"x"] * 20)

        wait_for(lambda: log.lag().records == 20, log.lag)
