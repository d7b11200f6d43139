"""The scenarios of the chaos suite, one function each. In all of them every event must be counted once.

Owns: which fault each scenario causes, and when. All share the broker and the store, but each has its own topic and
database. Each ends with `Cluster.finish`, which compares everything, and returns its line of the table. `rounds`: how
often the fault is repeated.
"""

import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random

from engine.faults import POINTS
from tests.chaos import check
from tests.chaos.cluster import PARTITIONS, Cluster, Result, cluster
from tests.chaos.http_sender import HttpSender
from tests.chaos.load import FIRST_BURST
from tests.chaos.processes import Process
from tests.chaos.random_faults import RandomFaults
from tests.chaos.recovery import wait_until
from tests.chaos.services import Services
from tests.chaos.writer import RawRecord
from tests.harness.clickhouse_faults import FaultKind
from tests.harness.crash import METERS

INGEST_STEPS = [point for point in POINTS if point.startswith("ingest.")]
FILL_STEPS = [point for point in POINTS if point.startswith("fill.")]
METER_STEPS = [point for point in POINTS if point.startswith("meter.") and point != "meter.after-delete"]
FAULTS: tuple[FaultKind, ...] = ("refuse", "stall", "reset", "lose-answer", "error")
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


# --- our processes die ------------------------------------------------------------------------------------------------


def every_step(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Kill `meterport ingest` at each of its fault points, and `meterport api` at those of a meter's life."""
    with cluster(services, "steps", meters=METERS[:3], command=command) as run:
        members = _started(run, 2, rate=800)
        for turn in range(rounds):
            steps = INGEST_STEPS if services.calm else [*INGEST_STEPS, *METER_STEPS]
            _die_at(run, members, [f"{step}:{1 + turn % 3}" for step in steps])
            # One process leads, and only that one fills a meter. So there is one, which will reach these points.
            members[1].wait_until_ready()
            assert run.fleet.retire(members[1]) == 0, members[1].tail()
            for step in FILL_STEPS:
                _die_at(run, members[:1], [f"{step}:{1 + turn % 3}"], run.change_meters)
            members[1].start()
            for point in [*METER_STEPS, "meter.after-delete"] if not services.calm else ["meter.after-views"]:
                run.fleet.kill(run.api_process, point)
                run.api()
                meter = run.extra_meter()
                run.create(meter)
                if point == "meter.after-delete":
                    run.delete(meter.slug)
                    run.meters.remove(meter)
        run.runs = run.fleet.kills
        return run.finish("kill -9 at every fault point")


def _die_at(run: Cluster, members: list[Process], faults: list[str], cause: Callable[[], None] = lambda: None) -> None:
    """Arm each fault in one of the processes, and wait until one has died at each. The first are killed before.

    `cause` makes a process reach its point. It is called now and then, because a point may be reached several times
    before it is fatal.
    """
    wanted = run.fleet.deaths_at + Counter(fault.partition(":")[0] for fault in faults)
    run.fleet.faults += faults
    for member in members[: len(faults)]:
        run.fleet.kill(member)
    numbers = count()

    def are_dead() -> bool:
        number = next(numbers)
        if number % 20 == 0:
            cause()
        run.garbage(RawRecord(number % PARTITIONS, b"{"))  # one point is reached only with a dead letter
        return not wanted - run.fleet.deaths_at

    wait_until(are_dead, 120, f"not reached: {faults}", run.fleet.deaths_at.total)


def membership(services: Services, rounds: int = 1, protocol: str = "classic") -> Result:
    """Let processes join, leave and be killed under load, so that several members inherit one plan's partitions."""
    with cluster(services, f"membership_{protocol}", protocol=protocol) as run:
        members = _started(run, 1, rate=1500)
        for _ in range(rounds):
            if len(members) == 1:
                members += run.ingest(2)
            for member in members:
                _wait_for_partitions(run, member)
            for victim in members:
                run.fleet.kill(victim)
                _wait_for_partitions(run, victim)
                run.runs += 1
            leaver = members[-1]
            assert run.fleet.retire(leaver) == 0, leaver.tail()
            time.sleep(1)
            leaver.start()
            _wait_for_partitions(run, leaver)
            run.runs += 1
        return run.finish(f"members join, leave and die ({protocol})")


def split_plans(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Kill one of three processes that has a plan, so that the two others finish it, each for its own partitions."""
    with cluster(services, "split", meters=METERS[:3], command=command) as run:
        members = _started(run, 3, rate=1500)
        steps = ["ingest.after-claim", "ingest.after-insert", "ingest.after-plan"]
        for turn in range(6 * rounds):  # the group decides who gets the partitions: repeat it until both get some
            if turn >= rounds and _split_plan_count(members):
                break
            for member in members:
                _wait_for_partitions(run, member)
            victim = members[turn % 3]
            run.fleet.kill(victim, f"{steps[turn % 3]}:2")
            victim.is_supervised = False  # so that the others get its partitions
            assert victim.wait_for_death(60), f"the armed fault point was not reached\n{victim.tail()}"
            run.recovery.fault_ended()
            run.recovery.wait(60)
            victim.start()
            run.runs += 1
        assert _split_plan_count(members), "no plan was finished by two processes: the scenario proves nothing"
        return run.finish("kill -9 with a plan that two others finish")


def _split_plan_count(members: list[Process]) -> int:
    resumed: Counter[str] = Counter()
    for member in members:
        resumed.update(set(re.findall(r"plan_resumed token=(\w+)", member.log.read_text(errors="replace"))))
    return sum(count > 1 for count in resumed.values())


def half_inserted(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Let an insert fail after some of its tables are done, and kill the process that would retry it."""
    with cluster(services, "half", meters=METERS[:3], command=command) as run:
        members = _started(run, 2, rate=1000)
        wait_until(run.is_ready, 60, "a meter was not filled")
        for turn in range(rounds):
            with run.client() as client:
                tables = f"SELECT name FROM system.tables WHERE database = '{run.database}'"
                [table] = client.query(f"{tables} AND name LIKE 'meter_tokens_%_day'").first_row
                client.command(f"ALTER TABLE `{table}` ADD CONSTRAINT poison CHECK subject = ''")
                for member in members:
                    wait_until(lambda member=member: bool(member.find_in_log(b"poison")), 60, "no insert failed")  # type: ignore[misc]
                for member in members[: 1 + turn % 2]:
                    run.fleet.kill(member)
                client.command(f"ALTER TABLE `{table}` DROP CONSTRAINT poison")
            _recover(run)
            run.runs += 1
        return run.finish("kill -9 with an insert half done")


def clocks_apart(services: Services, rounds: int = 1) -> Result:
    """Create meters while one process's clock is slow and another's is fast: fills and batches must still agree.

    The clock of the process that fills is right. In every second turn there are few events: then the slow process has
    no batch in progress when a barrier is set, and learns of the barrier only with its next batch.
    """
    with cluster(services, "clocks", meters=METERS[:2], command=_with_clock(0)) as run:
        members = _started(run, 3, rate=1000)
        for seconds in (-7, 3):
            _wait_for_all_partitions(run)
            other = next(member for member in members if member.command == _with_clock(0) and not _leads(member))
            other.command = _with_clock(seconds)
            run.fleet.kill(other)
        for turn in range(2 if services.calm else 6 * rounds):
            _wait_for_all_partitions(run)
            run.writer.rate = 1 if turn % 2 else 1000 * services.load
            run.create(run.extra_meter())
            time.sleep(1.5)
            if turn % 2:
                run.fleet.kill(members[turn // 2 % 3])
                run.runs += 1
        run.writer.rate = 1000 * services.load
        run.recovery.wait(120)
        return run.finish("clocks 7 s behind and 3 s ahead, meters created")


def _with_clock(seconds: int) -> tuple[str, ...]:
    return sys.executable, "-m", "tests.chaos.other_clock", str(seconds), "ingest"


def zombie(services: Services, rounds: int = 1, protocol: str = "classic") -> Result:
    """Stop a process for longer than its group waits for it, also in the middle of an insert, and continue it."""
    with cluster(services, f"zombie_{protocol}", meters=METERS[:3], protocol=protocol) as run:
        members = _started(run, 2, rate=1500)
        for turn in range(2 * rounds):
            for member in members:
                _wait_for_partitions(run, member)
            victim, other = members[turn % 2], members[1 - turn % 2]
            if turn % 2:
                _stop_in_an_insert(run, victim)
            else:
                victim.signal(signal.SIGSTOP)
            taken = len(_assignments(other))
            wait_until(
                lambda taken=taken, other=other: len(_assignments(other)) > taken,  # type: ignore[misc]
                30,
                "the other process did not take over",
            )
            run.recovery.fault_ended()
            run.recovery.wait(60)
            back = len(_assignments(victim))
            victim.signal(signal.SIGCONT)
            wait_until(
                lambda back=back, victim=victim: len(_assignments(victim)) > back,  # type: ignore[misc]
                60,
                "the stopped process did not get partitions again",
            )
            run.runs += 1
        return run.finish(f"SIGSTOP past the session timeout, then SIGCONT ({protocol})")


def _stop_in_an_insert(run: Cluster, victim: Process) -> None:
    """Stop a process while it waits for the answer to an insert. Then the store goes on, also with that insert."""
    run.services.store.misbehave("stall", seconds=30, inserts_only=True)
    time.sleep(1.5)
    victim.signal(signal.SIGSTOP)
    run.services.store.behave()


# --- brokers and store ------------------------------------------------------------------------------------------------


def broker_away(services: Services, rounds: int = 1) -> Result:
    """Kill the broker and start it again, and stop it for fifteen seconds."""
    with cluster(services, "broker", meters=METERS[:3]) as run:
        _started(run, 2, rate=1000)
        for _ in range(rounds):
            services.broker.kill()
            time.sleep(2)
            services.broker.start()
            _recover(run)
            services.broker.stop_signal()
            time.sleep(15)
            services.broker.continue_()
            _recover(run)
            run.runs += 2
        return run.finish("broker killed, broker stopped for 15 s")


def store_misbehaves(services: Services, rounds: int = 1, seconds: float = 5) -> Result:
    """Let the store refuse, stall, reset, lose its answers and fail, for all statements or only for inserts."""
    with cluster(services, "store", meters=METERS[:3]) as run:
        _started(run, 2, rate=1000)
        for kind in FAULTS * rounds:
            struck = services.store.struck(kind)
            services.store.misbehave(kind, seconds=seconds, inserts_only=kind == "lose-answer", probability=0.8)
            time.sleep(seconds)
            services.store.behave()
            _recover(run)
            assert kind == "refuse" or services.store.struck(kind) > struck, f"{kind} hit no statement"
            run.runs += 1
        return run.finish("store refuses, stalls, resets, loses answers, fails")


def store_killed(services: Services, rounds: int = 3, command: tuple[str, ...] | None = None) -> Result:
    """Kill the store while it inserts, sometimes together with an ingest process, and start both again."""
    random = Random(2)  # noqa: S311
    with cluster(services, "store_killed", meters=METERS[:3], command=command) as run:
        members = _started(run, 2, rate=2000)
        for turn in range(rounds):
            time.sleep(random.uniform(0.5, 1.5))
            services.store.kill()
            if turn % 2:
                run.fleet.kill(random.choice(members))
            services.store.start()
            _recover(run)
            run.runs += 1
        return run.finish("store killed -9 while it inserts", allowed=(1,))


# --- the topic --------------------------------------------------------------------------------------------------------


def garbage(services: Services, rounds: int = 1) -> Result:
    """Mix invalid records of every kind, of 10 MB and in large numbers with events of both content modes."""
    with cluster(services, "garbage", meters=METERS[:3]) as run:
        run.topic.take_large_records(32 << 20)
        members = _started(run, 2, rate=1000)
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
            _recover(run)
            run.runs += 1
        return run.finish("garbage among events, records of 10 MB")


def partitions_added(services: Services, rounds: int = 1) -> Result:
    """Add partitions to the topic while it is read: subjects move, and new partitions must be read from their start."""
    with cluster(services, "grown", meters=METERS[:3], options={"topic.metadata.refresh.interval.ms": "1000"}) as run:
        members = _started(run, 2, rate=1000)
        for turn in range(rounds):
            run.topic.grow(PARTITIONS + 6 * (turn + 1))
            run.recovery.fault_ended()
            time.sleep(2)
            run.writer.spread(PARTITIONS + 6 * (turn + 1))
            time.sleep(3)
            run.fleet.kill(members[turn % 2])
            _recover(run)
            run.runs += 1
        assert all(run.topic.ends().values()), "a new partition stayed empty: the scenario proves nothing"
        return run.finish("partitions added under load")


def twins(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Send every event to two partitions at once, which three processes read, and kill between claim and insert."""
    with cluster(services, "twins", meters=METERS[:3], twins=1.0, command=command) as run:
        members = _started(run, 3, rate=1500)
        for member in members:
            _wait_for_partitions(run, member)
        if command:  # without a guard: the end compares what has been stored until then
            with run.client() as client:
                wait_until(lambda: check.loss(client, 0).doubled > 0, 120, "no event was doubled")
        else:
            time.sleep(3)
        for turn in range(rounds):
            for member in members:
                _wait_for_partitions(run, member)
            kills = run.fleet.kills
            run.fleet.kill(members[turn % 3], ("ingest.after-claim:2", "ingest.after-insert:2", "")[turn % 3])
            if turn % 3 < 2:
                wait_until(lambda kills=kills: run.fleet.kills >= kills + 2, 60, "the fault point was not reached")  # type: ignore[misc]
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
            _recover(run)
            run.runs += 1
        return run.finish("batches of 200 months, killed between them")


def replay(services: Services, rounds: int = 1, killed: bool = False) -> Result:
    """Let the group read the whole topic again into the same store: nothing changes, and no new dead letter appears."""
    with cluster(services, "replayed", meters=METERS[:3]) as run:
        members = _started(run, 2, rate=1500)
        run.garbage(*(RawRecord(number % 12, b"{") for number in range(100)))
        time.sleep(4)
        run.writer.finish()
        wait_until(run.topic.is_drained, 60, "not everything was stored")
        for turn in range(rounds):
            if killed:  # with a batch in progress
                run.fleet.faults += ["ingest.after-claim"] * 2
                for member in members:
                    run.fleet.kill(member)
                    member.is_supervised = False
                run.writer.send(3000)
                for member in members:
                    assert member.wait_for_death(60), "the armed fault point was not reached"
            else:
                for member in members:
                    assert run.fleet.retire(member) == 0, member.tail()
            wait_until(run.topic.is_deserted, 60, "the group still has members")
            run.topic.reset()
            run.recovery.fault_ended()
            for member in members[: 1 + turn % 2]:
                member.start()
            run.recovery.wait(120)
            for member in members[1 + turn % 2 :]:
                member.start()
            run.runs += 1
        return run.finish(f"the whole topic read again{', after a kill' if killed else ''}")


# --- over HTTP --------------------------------------------------------------------------------------------------------


def over_http(services: Services, rounds: int = 1) -> Result:
    """Send events to `meterport api` while the broker is down: it answers 503 with Retry-After until it answers 204."""
    with cluster(services, "http", meters=METERS[:3], variables={"METERPORT_KAFKA__PRODUCE_SECONDS": "2"}) as run:
        run.create(*run.meters)
        run.ingest(1)
        for turn in range(rounds):
            sender = HttpSender(run)
            sender.start()
            time.sleep(2)
            if turn % 2:
                services.broker.stop_signal()
            else:
                services.broker.kill()
            refused = sender.refused
            wait_until(lambda refused=refused, sender=sender: sender.refused > refused + 1, 30, "nothing was refused")  # type: ignore[misc]
            if turn % 2:
                services.broker.continue_()
            else:
                services.broker.start()
            run.recovery.fault_ended()
            run.fleet.kill(run.api_process)
            time.sleep(3)
            sender.finish()
            run.recovery.wait(60)
            run.runs += 1
        return run.finish("events over HTTP while the broker is away")


# --- all faults -------------------------------------------------------------------------------------------------------


def at_random(
    services: Services,
    kills: int = 12,
    events: int = 40_000,
    pace: float = 3,
    seed: int = 3,
    protocol: str = "classic",
    report: Callable[[str], None] = lambda _: None,
) -> Result:
    """Kill one of three processes every few seconds, at a random time or at a fault point, with all other faults, too.

    Args: pace: the seconds between two faults. report: called with a progress line now and then.
    """
    with cluster(services, "random", meters=METERS[:5], twins=0.1, protocol=protocol, seed=seed) as run:
        faults = RandomFaults(run, Random(seed))  # noqa: S311
        _started(run, 3, rate=0)
        began = reported = time.monotonic()
        while run.fleet.kills < kills:
            expected = min(1.0, run.fleet.kills / kills + 0.02)
            run.writer.rate = events / (kills * pace) if len(run.writer.numbers) < events * expected else 0
            faults.inject()
            time.sleep(faults.random.uniform(0.5, 1.0) * pace)
            if time.monotonic() - reported > 10:
                reported = time.monotonic()
                report(
                    f"{reported - began:5.0f} s  {run.fleet.kills} of {kills} kills  {len(run.writer.numbers):,} events"
                    f"  {sum(faults.injected.values())} faults: {dict(faults.injected)}"
                )
        faults.wake_all()
        run.writer.finish()
        run.writer.send(max(0, events - len(run.writer.numbers)))
        run.runs = run.fleet.kills
        return run.finish(f"everything at random, {run.fleet.kills} kills", allowed=(1,))


# --- helpers ----------------------------------------------------------------------------------------------------------


def broken(guard: str) -> tuple[str, ...]:
    """Return the command of a `meterport ingest` without a guard (broken_ingest.py)."""
    return sys.executable, "-m", "tests.chaos.broken_ingest", guard, "ingest"


def _started(run: Cluster, processes: int, rate: float) -> list[Process]:
    """Create the meters, start the processes, and send events to the topic."""
    members = run.ingest(processes)  # at the same time as the API: the first of them creates the tables
    run.create(*run.meters)
    run.writer.run(rate * run.services.load)
    for member in members:
        member.wait_until_ready()
    return members


def _assignments(process: Process) -> list[bytes]:
    return process.find_all_in_log(rb"partitions_assigned partitions=\[(\d[^\]]*)\]")


def _assigned_partitions(process: Process) -> set[int]:
    """Return the partitions that a process has according to its log."""
    owned: set[int] = set()
    for what, listed in process.find_all_in_log(rb"partitions_(assigned|revoked) partitions=\[([^\]]*)\]"):
        numbers = {int(number) for number in listed.split(b",") if number}
        owned = owned | numbers if what == b"assigned" else owned - numbers
    return owned


def _leads(process: Process) -> bool:
    return 0 in _assigned_partitions(process)


def _wait_for_all_partitions(run: Cluster) -> None:
    """Wait until each process has some partitions, and together they have all."""

    def is_assigned() -> bool:
        owned = [_assigned_partitions(member) for member in run.members]
        return all(owned) and sum(map(len, owned)) == PARTITIONS == len(set().union(*owned))

    wait_until(is_assigned, 60, f"the partitions are not all assigned:\n{run.tails()}")


def _wait_for_partitions(run: Cluster, process: Process) -> None:
    wait_until(lambda: bool(_assignments(process)), 60, f"{process.name} got no partition:\n{run.tails()}")


def _recover(run: Cluster) -> None:
    """Start a measurement at the end of a fault, and wait until all partitions continue."""
    run.recovery.fault_ended()
    run.recovery.wait(120)
