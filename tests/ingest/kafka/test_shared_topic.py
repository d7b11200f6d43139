"""A topic shared by several processes: plans move with their partitions, and no process moves another's offsets.

Each log represents a process. A group needs about a second to assign its partitions. Both group protocols are tested.
"""

import pytest

from ingest.event_log import Plan, Range, ranges_of
from ingest.kafka.plans import to_metadata
from tests.harness.topics import Topic, lag, read, retry_until_answered, values, wait_for, wait_for_assignment
from tests.ingest.conftest import OpenLog
from tests.ingest.kafka.filled_topics import put_two_each


@pytest.fixture(params=["consumer", "classic"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _at(commits: dict[int, tuple[int, str]], partitions: list[int]) -> list[tuple[int, str]]:
    return [commits[partition] for partition in partitions]


def test_each_record_is_read_by_one_of_those_who_share(open_log: OpenLog, topic: Topic) -> None:
    one, other = open_log(), open_log()
    shares = wait_for_assignment(one, other)

    put_two_each(topic)

    for log, share in ((one, shares[0]), (other, shares[1])):
        assert values(read(log, 2 * len(share))) == [b"%d-%c" % (at, end) for at in share for end in b"ab"]


def test_only_the_owner_of_the_first_partition_leads(open_log: OpenLog) -> None:
    one, other = open_log(), open_log()

    shares = wait_for_assignment(one, other)

    assert [one.is_leader(), other.is_leader()] == [0 in share for share in shares]


def test_each_new_owner_of_partitions_that_part_ways_finds_the_plan_and_reads_all_of_it(
    open_log: OpenLog, topic: Topic
) -> None:
    put_two_each(topic)
    giver = open_log()
    records = read(giver, 6)
    plan = giver.plan(ranges_of(records), 5000)
    assert plan == Plan((Range(0, 0, 2), Range(1, 0, 2), Range(2, 0, 2)), 5000)

    takers = [open_log(), open_log()]
    wait_for_assignment(giver, *takers)

    assert [taker.pending() for taker in takers] == [[plan], [plan]]
    for log in (giver, *takers):
        assert log.reread(plan) == log.reread(plan) == records
        assert log.is_current(plan)
        assert log.planned() == [plan]
    assert topic.committed() == dict.fromkeys(range(3), (0, "v1;5000;0:0+2,1:0+2,2:0+2"))


def test_an_acknowledgement_moves_the_partitions_of_its_process_alone(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    giver = open_log()
    plan = giver.plan(ranges_of(read(giver, 6)), 5000)
    assert plan is not None
    planned, stored = (0, to_metadata(plan)), (2, "")
    one, other = open_log(), open_log()
    [[kept], [given], [given_too]] = wait_for_assignment(giver, one, other)

    one.acknowledge(plan)
    assert topic.committed() == {given: stored, kept: planned, given_too: planned}
    assert (one.pending(), other.pending()) == ([], [plan])

    giver.acknowledge(plan)
    giver.acknowledge(plan)
    assert topic.committed() == {given: stored, kept: stored, given_too: planned}
    assert other.is_current(plan)
    assert one.planned() == [plan]

    other.acknowledge(plan)
    assert topic.committed() == dict.fromkeys(range(3), stored)
    assert not retry_until_answered(lambda: giver.is_current(plan))
    assert [log.planned() for log in (giver, one, other)] == [[], [], []]
    assert [lag(log) for log in (giver, one, other)] == [0, 0, 0]


def test_who_gave_a_partition_away_never_moves_it_forwards_or_back(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    giver = open_log()
    plan = giver.plan(ranges_of(read(giver, 6)), 5000)
    assert plan is not None
    taker = open_log()
    kept, given = wait_for_assignment(giver, taker)

    for partition in range(3):
        topic.put(b"c", partition=partition)
    # This acknowledges the first plan on the partitions that `giver` still has.
    second = giver.plan(ranges_of(read(giver, len(kept))), 6000)
    assert second is not None
    assert _at(topic.committed(), kept) == [(2, to_metadata(second))] * len(kept)
    assert _at(topic.committed(), given) == [(0, to_metadata(plan))] * len(given)

    taker.acknowledge(plan)
    third = taker.plan(ranges_of(read(taker, len(given))), 7000)
    assert third is not None
    taker.acknowledge(third)
    giver.acknowledge(plan)
    giver.acknowledge(second)
    assert topic.committed() == dict.fromkeys(range(3), (3, ""))


def test_a_batch_one_of_whose_partitions_was_taken_away_is_not_planned(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    giver = open_log()
    batch = read(giver, 6)
    taker = open_log()
    kept, given = wait_for_assignment(giver, taker)

    assert giver.plan(ranges_of(batch), 5000) is None

    assert topic.committed() == {}
    left = [record for record in batch if record.partition in kept]
    assert read(giver, len(left)) == left
    plan = giver.plan(ranges_of(left), 6000)
    assert plan == Plan(tuple(Range(partition, 0, 2) for partition in kept), 6000)
    assert read(taker, 2 * len(given)) == [record for record in batch if record.partition in given]


def test_a_partition_that_comes_back_is_read_where_the_other_process_left_it(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    giver = open_log()
    plan = giver.plan(ranges_of(read(giver, 6)), 5000)
    assert plan is not None
    taker = open_log()
    _, given = wait_for_assignment(giver, taker)
    for partition in given:
        topic.put(b"c", b"d", partition=partition)
    taker.acknowledge(plan)
    after = read(taker, 2 * len(given))
    further = taker.plan(ranges_of([record for record in after if record.offset == 2]), 6000)
    assert further is not None
    taker.acknowledge(further)

    taker.close()
    wait_for_assignment(giver)

    assert giver.pending() == []
    assert values(read(giver, len(given))) == [b"d"] * len(given)
    giver.acknowledge(plan)
    assert _at(topic.committed(), given) == [(3, "")] * len(given)


def test_a_partition_that_went_while_nobody_read_is_read_when_it_comes_back(open_log: OpenLog, topic: Topic) -> None:
    log = open_log()
    wait_for_assignment(log)
    wait_for(lambda: log._member._paused)
    taker = open_log()
    wait_for_assignment(log, taker)

    assert log.read(10, 1000, 0.1) == []
    taker.close()
    wait_for_assignment(log)
    put_two_each(topic)

    assert len(read(log, 6)) == 6


def test_the_plan_of_a_partition_that_comes_back_is_pending_then(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    log = open_log()
    plan = log.plan(ranges_of(read(log, 6)), 5000)
    taker = open_log()
    wait_for_assignment(log, taker)
    assert log.pending() == []

    taker.close()
    wait_for_assignment(log)

    assert log.pending() == [plan]


def test_a_plan_whose_partitions_were_all_taken_away_is_no_longer_pending(open_log: OpenLog, topic: Topic) -> None:
    plans = [Plan((Range(partition, 0, 2),), 5000) for partition in range(3)]
    put_two_each(topic)
    topic.commit({partition: (0, to_metadata(plan)) for partition, plan in enumerate(plans)})
    log = open_log()
    wait_for_assignment(log)
    assert sorted(plan.ranges for plan in log.pending()) == [plan.ranges for plan in plans]

    kept, given = wait_for_assignment(log, taker := open_log())

    for owner, share in ((log, kept), (taker, given)):
        assert sorted(plan.ranges[0].partition for plan in owner.pending()) == share


def test_a_plan_of_others_that_reaches_over_partitions_not_given_is_left_to_them(
    open_log: OpenLog, topic: Topic
) -> None:
    """Each partition carries a plan that its neighbour has already stored; the neighbour carries the next one."""
    put_two_each(topic)
    plans = [Plan(tuple(sorted([Range(at, 1, 2), Range((at + 1) % 3, 0, 1)])), 5000 + at) for at in range(3)]
    topic.commit({at: (1, to_metadata(plan)) for at, plan in enumerate(plans)})
    logs = [open_log(), open_log(), open_log()]

    shares = wait_for_assignment(*logs)

    assert [log.pending() for log in logs] == [[plans[at]] for [at] in shares]
    topic.put(b"c", partition=0)
    [reader] = [log for log, share in zip(logs, shares, strict=True) if share == [0]]
    assert values(read(reader, 1)) == [b"c"]


def test_a_discarded_plan_gives_back_only_partitions_that_carry_it(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    log = open_log()
    void = log.plan(ranges_of(read(log, 6)), 5000)
    assert void is not None
    taker = open_log()
    _, given = wait_for_assignment(log, taker)
    taker.acknowledge(void)
    taker.close()
    wait_for_assignment(log)
    for partition in given:
        topic.put(b"c", partition=partition)
    wait_for(lambda: len(log.read(100, 1 << 20, 0.1)) == len(given))

    log.discard(void)

    kept = [partition for partition in range(3) if partition not in given]
    assert [(record.partition, record.offset) for record in read(log, 2 * len(kept) + len(given))] == sorted(
        [(partition, offset) for partition in kept for offset in (0, 1)] + [(partition, 2) for partition in given]
    )
