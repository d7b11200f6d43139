"""Scenarios with a topic that few have: garbage, twins, new partitions, long batches, all of it read again.

`rounds`: how often the fault is repeated. tests/chaos/scenarios/members.py says what all scenarios have in common.
"""

import time

from tests.chaos import check
from tests.chaos.cluster import PARTITIONS, Result, cluster
from tests.chaos.load import FIRST_BURST
from tests.chaos.recovery import wait_until
from tests.chaos.scenarios.members import recover, started, wait_for_partitions
from tests.chaos.services import Services
from tests.chaos.writer import RawRecord
from tests.harness.crash import METERS

_CE: list[tuple[str, str | bytes | None]] = [
    (f"ce_{name}", text)
    for name, text in {"specversion": b"1.0", "id": b"1", "source": b"s", "type": b"call", "subject": b"u"}.items()
]
_INVALID = b'{"specversion":"1.0","id":"%b","source":"s","type":"call","subject":"u","time":"%b"}'
GARBAGE: tuple[tuple[RawRecord, str], ...] = (
    (RawRecord(0, None), "no value"),
    (RawRecord(1, b""), "no value"),
    (RawRecord(2, b"{"), "not JSON"),
    (RawRecord(3, b"\xff"), "not UTF-8"),
    (RawRecord(4, b"[]"), "must be a JSON object"),
    (RawRecord(5, b"null"), "must be a JSON object"),
    (RawRecord(6, b"{}"), "id is missing"),
    (RawRecord(7, _INVALID % (b"", b"2025-01-01T00:00:00Z")), "id must not be empty"),
    (RawRecord(8, _INVALID % (b"1", b"2025-13-01T00:00:00Z")), "time is invalid"),
    (RawRecord(9, b"{}", [("content-type", b"application/cloudevents+avro")]), "must be application/cloudevents+json"),
    (RawRecord(10, b"{}", [("content-type", b"\xff")]), "is not UTF-8"),
    (RawRecord(11, b"{}", _CE[1:]), "ce_specversion is missing"),
    (RawRecord(0, b"{", _CE), "data is not JSON"),
    (RawRecord(1, b"{}", [*_CE, ("ce_id", b"2")]), "appears twice"),
    (RawRecord(2, b"{}", [*_CE, ("content-type", b"text/plain")]), "application/json"),
    (RawRecord(3, b"x" * (10 << 20)), "not JSON"),
)


def garbage(services: Services, rounds: int = 1) -> Result:
    """Mix invalid records of every kind, of 10 MB and in large numbers with events of both content modes."""
    with cluster(services, "garbage", meters=METERS[:3]) as run:
        run.topic.take_large_records(32 << 20)
        members = started(run, 2, rate=1000)
        for turn in range(rounds):
            for record, reason in GARBAGE:
                run.garbage(record, reason=reason)
            run.writer.send_in_binary_mode(100)
            run.writer.finish()
            run.writer.send_padded(10 << 20)
            for _ in range(10):  # never so many without an event that ingest stops
                run.garbage(*(RawRecord(number % 12, b"{") for number in range(300)))
                run.writer.send(300)
            run.writer.run(1000 * services.load)
            run.fleet.kill(members[turn % 2])
            recover(run)
            run.runs += 1
        return run.finish("garbage among events, records of 10 MB")


def partitions_added(services: Services, rounds: int = 1) -> Result:
    """Add partitions to the topic while it is read: subjects move, and new partitions must be read from their start."""
    with cluster(services, "grown", meters=METERS[:3], options={"topic.metadata.refresh.interval.ms": "1000"}) as run:
        members = started(run, 2, rate=1000)
        for turn in range(rounds):
            run.topic.grow(PARTITIONS + 6 * (turn + 1))
            run.recovery.fault_ended()
            time.sleep(2)
            run.writer.spread(PARTITIONS + 6 * (turn + 1))
            time.sleep(3)
            run.fleet.kill(members[turn % 2])
            recover(run)
            run.runs += 1
        assert all(run.topic.ends().values()), "a new partition stayed empty: the scenario proves nothing"
        return run.finish("partitions added under load")


def twins(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Send every event to two partitions at once, which three processes read, and kill between claim and insert."""
    with cluster(services, "twins", meters=METERS[:3], twins=1.0, command=command) as run:
        members = started(run, 3, rate=1500)
        for member in members:
            wait_for_partitions(run, member)
        if command:  # without a guard: the end compares what has been stored until then
            with run.client() as client:
                wait_until(lambda: check.loss(client, 0).doubled > 0, "no event was doubled")
        else:
            time.sleep(3)
        for turn in range(rounds):
            for member in members:
                wait_for_partitions(run, member)
            kills = run.fleet.kills
            run.fleet.kill(members[turn % 3], ("ingest.after-claim:2", "ingest.after-insert:2", "")[turn % 3])
            if turn % 3 < 2:
                wait_until(lambda kills=kills: run.fleet.kills >= kills + 2, "the fault point was not reached")  # type: ignore[misc]
            run.runs += 1
        return run.finish("every event on two partitions at once")


def months(services: Services, rounds: int = 1) -> Result:
    """Send batches that span 200 months, which ingest splits, and kill between their parts."""
    with cluster(services, "months", meters=METERS[:3], first=FIRST_BURST) as run:
        run.create(*run.meters)
        run.writer.send(1000)
        for turn in range(rounds):
            if turn:
                run.writer.send(50_000)  # they contain a burst
            run.fleet.faults.append("ingest.after-plan:2")
            run.ingest(1 if not turn else 0)
            if turn:
                run.fleet.kill(run.fleet.members[-1])
            recover(run)
            run.runs += 1
        return run.finish("batches of 200 months, killed between them")


def replay(services: Services, rounds: int = 1, killed: bool = False) -> Result:
    """Let the group read the whole topic again into the same store: nothing changes, and no new dead letter appears."""
    with cluster(services, "replayed", meters=METERS[:3]) as run:
        members = started(run, 2, rate=1500)
        run.garbage(*(RawRecord(number % 12, b"{") for number in range(100)))
        time.sleep(4)
        run.writer.finish()
        wait_until(run.topic.is_drained, "not everything was stored")
        for turn in range(rounds):
            if killed:  # with a batch in progress
                run.fleet.faults += ["ingest.after-claim"] * 2
                for member in members:
                    run.fleet.kill(member)
                    member.is_supervised = False
                run.writer.send(3000)
                for member in members:
                    assert member.wait_for_death(), "the armed fault point was not reached"
            else:
                for member in members:
                    assert run.fleet.retire(member) == 0, member.tail()
            wait_until(run.topic.is_deserted, "the group still has members")
            run.topic.reset()
            run.recovery.fault_ended()
            for member in members[: 1 + turn % 2]:
                member.start()
            run.recovery.wait()
            for member in members[1 + turn % 2 :]:
                member.start()
            run.runs += 1
        return run.finish(f"the whole topic read again{', after a kill' if killed else ''}")
