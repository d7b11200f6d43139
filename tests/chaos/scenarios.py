"""The faults of the chaos suite, one function each: every event is counted once, whatever happened.

Owns: what is done to whom, and when. Each runs on a ground it shares with the others, on a topic and a database of its
own, ends with `Cluster.finish`, which compares everything, and returns its line of the table. `rounds`: how often.
"""

import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from engine.faults import POINTS
from tests.chaos.cluster import PARTITIONS, Cluster, Ground, Result, cluster, wait_until
from tests.chaos.dice import Dice
from tests.chaos.http_sender import HttpSender
from tests.chaos.load import FIRST_BURST
from tests.chaos.processes import Process
from tests.chaos.topic import Raw
from tests.harness.clickhouse_faults import FaultKind
from tests.harness.crash import METERS

INGEST_STEPS = [point for point in POINTS if point.startswith(("ingest.", "fill."))]
METER_STEPS = [point for point in POINTS if point.startswith("meter.") and point != "meter.after-delete"]
FAULTS: tuple[FaultKind, ...] = ("refuse", "stall", "reset", "lose-answer", "error")
_CE: list[tuple[str, str | bytes | None]] = [
    (f"ce_{name}", text)
    for name, text in {"specversion": b"1.0", "id": b"1", "source": b"s", "type": b"call", "subject": b"u"}.items()
]
_INVALID = b'{"specversion":"1.0","id":"%b","source":"s","type":"call","subject":"u","time":"%b"}'
GARBAGE: tuple[tuple[Raw, str], ...] = (
    (Raw(0, None), "no value"),
    (Raw(1, b""), "no value"),
    (Raw(2, b"{"), "not JSON"),
    (Raw(3, b"\xff"), "not UTF-8"),
    (Raw(4, b"[]"), "must be a JSON object"),
    (Raw(5, b"null"), "must be a JSON object"),
    (Raw(6, b"{}"), "id is missing"),
    (Raw(7, _INVALID % (b"", b"2025-01-01T00:00:00Z")), "id must not be empty"),
    (Raw(8, _INVALID % (b"1", b"2025-13-01T00:00:00Z")), "time is invalid"),
    (Raw(9, b"{}", [("content-type", b"application/cloudevents+avro")]), "must be application/cloudevents+json"),
    (Raw(10, b"{}", [("content-type", b"\xff")]), "is not UTF-8"),
    (Raw(11, b"{}", _CE[1:]), "ce_specversion is missing"),
    (Raw(0, b"{", _CE), "data is not JSON"),
    (Raw(1, b"{}", [*_CE, ("ce_id", b"2")]), "appears twice"),
    (Raw(2, b"{}", [*_CE, ("content-type", b"text/plain")]), "application/json"),
    (Raw(3, b"x" * (10 << 20)), "not JSON"),
)
_STEP_SECONDS = 8  # how long a process may take to the step it is armed for before it is killed elsewhere, at first


# --- processes of ours that die ---------------------------------------------------------------------------------------


def every_step(ground: Ground, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Kill `meterport ingest` at every named step it passes, and `meterport api` at those of a meter's life."""
    chance = Random(1)  # noqa: S311
    with cluster(ground, "steps", meters=METERS[:3], command=command) as run:
        members = _started(run, 2, rate=800)
        wanted: Counter[str] = Counter(dict.fromkeys([*INGEST_STEPS, *METER_STEPS], rounds))
        run.fleet.faults += [f"{point}:{1 + turn % 3}" for turn in range(rounds) for point in wanted]
        since = changed = time.monotonic()
        kills, patience, deadline = 0, _STEP_SECONDS, since + 60 + rounds * 300
        while wanted - run.fleet.passed:
            assert time.monotonic() < deadline, f"never passed: {wanted - run.fleet.passed}\n{run.tails()}"
            if run.fleet.kills != kills:
                since, kills = time.monotonic(), run.fleet.kills
            elif time.monotonic() - since > patience or not kills:
                run.fleet.kill(chance.choice(members))
                patience += 2  # a busy machine may need all of it to start one
            run.garbage(Raw(chance.randrange(12), b"{"))
            if time.monotonic() - changed > patience / 2:  # it lives for three more, and shall be filled by then
                changed = time.monotonic()
                run.change_meters()
            time.sleep(0.2)
        for point in [*METER_STEPS, "meter.after-delete"] * (rounds - 1) or ["meter.after-views"]:
            run.fleet.kill(run.api_process, point)
            run.api()
            meter = run.extra_meter()
            run.create(meter)
            if point == "meter.after-delete":
                run.delete(meter.slug)
                run.meters.remove(meter)
        run.runs = run.fleet.kills
        return run.finish("kill -9 at every named step")


def membership(ground: Ground, rounds: int = 1, protocol: str = "classic") -> Result:
    """Have processes join, leave and be killed under load, so that plans over several partitions part ways."""
    with cluster(ground, f"membership_{protocol}", protocol=protocol) as run:
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


def plans_that_part(ground: Ground, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Kill one of three with a plan over its partitions at hand, so that two others finish it, each for its own."""
    with cluster(ground, "parted", meters=METERS[:3], command=command) as run:
        members = _started(run, 3, rate=1500)
        steps = ["ingest.after-claim", "ingest.after-insert", "ingest.after-plan"]
        for turn in range(6 * rounds):  # which members get the partitions is the group's choice: until two got some
            if turn >= rounds and _parted_plans(members):
                break
            for member in members:
                _wait_for_partitions(run, member)
            victim = members[turn % 3]
            run.fleet.kill(victim, f"{steps[turn % 3]}:2")
            victim.wanted = False  # the others shall have its partitions
            assert victim.wait_for_death(60), f"the armed step was not passed\n{victim.tail()}"
            run.recovery.begins()
            run.recovery.wait(60)
            victim.start()
            run.runs += 1
        assert _parted_plans(members), "no plan was finished by two processes: the scenario shows nothing"
        return run.finish("kill -9 with a plan that parts ways")


def _parted_plans(members: list[Process]) -> int:
    resumed: Counter[str] = Counter()
    for member in members:
        resumed.update(set(re.findall(r"plan_resumed token=(\w+)", member.log.read_text(errors="replace"))))
    return sum(count > 1 for count in resumed.values())


def half_inserted(ground: Ground, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Have an insert fail with some of its tables done, and kill the process that would try it again."""
    with cluster(ground, "half", meters=METERS[:3], command=command) as run:
        members = _started(run, 2, rate=1000)
        wait_until(run.is_ready, 60, "a meter was not filled")
        for turn in range(rounds):
            with run.client() as client:
                tables = f"SELECT name FROM system.tables WHERE database = '{run.database}'"
                [table] = client.query(f"{tables} AND name LIKE 'meter_tokens_%_day'").first_row
                client.command(f"ALTER TABLE `{table}` ADD CONSTRAINT poison CHECK subject = ''")
                for member in members:
                    wait_until(lambda member=member: bool(member.said(b"poison")), 60, "no insert failed")  # type: ignore[misc]
                for member in members[: 1 + turn % 2]:
                    run.fleet.kill(member)
                client.command(f"ALTER TABLE `{table}` DROP CONSTRAINT poison")
            _recover(run)
            run.runs += 1
        return run.finish("kill -9 with an insert half done")


def clocks_apart(ground: Ground, rounds: int = 1) -> Result:
    """Let one process's clock be slow and another's fast while meters are made: fills and batches still agree.

    The process that fills is in time. Events are few by turns: then the slow one has nothing under way when a barrier
    is set, and learns of it by its next batch only.
    """
    with cluster(ground, "clocks", meters=METERS[:2], command=_with_clock(0)) as run:
        members = _started(run, 3, rate=1000)
        for seconds in (-7, 3):
            _wait_for_all_partitions(run)
            other = next(member for member in members if member.command == _with_clock(0) and not _leads(member))
            other.command = _with_clock(seconds)
            run.fleet.kill(other)
        for turn in range(6 * rounds):
            _wait_for_all_partitions(run)
            run.writer.rate = 1 if turn % 2 else 1000
            run.create(run.extra_meter())
            time.sleep(1.5)
            if turn % 6 == 5:
                run.fleet.kill(members[turn // 6 % 3])
                run.runs += 1
        run.writer.rate = 1000
        run.recovery.wait(120)
        return run.finish("clocks 7 s behind and 3 s ahead, meters made")


def _with_clock(seconds: int) -> tuple[str, ...]:
    return broken(f"clock:{seconds}")


def zombie(ground: Ground, rounds: int = 1, protocol: str = "classic") -> Result:
    """Stop a process for longer than its group waits for it, also in the middle of an insert, and let it go on."""
    with cluster(ground, f"zombie_{protocol}", meters=METERS[:3], protocol=protocol) as run:
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
            wait_until(lambda taken=taken, other=other: len(_assignments(other)) > taken, 30, "nobody took over")  # type: ignore[misc]
            run.recovery.begins()
            run.recovery.wait(60)
            back = len(_assignments(victim))
            victim.signal(signal.SIGCONT)
            wait_until(
                lambda back=back, victim=victim: len(_assignments(victim)) > back,  # type: ignore[misc]
                60,
                "the one that was stopped did not come back",
            )
            run.runs += 1
        return run.finish(f"SIGSTOP past the session timeout, then SIGCONT ({protocol})")


def _stop_in_an_insert(run: Cluster, victim: Process) -> None:
    """Stop a process while the store keeps it waiting for an insert; then the store goes on, with that insert too."""
    run.ground.store.misbehave("stall", seconds=30, inserts_only=True)
    time.sleep(1.5)
    victim.signal(signal.SIGSTOP)
    run.ground.store.behave()


# --- brokers and store ------------------------------------------------------------------------------------------------


def broker_away(ground: Ground, rounds: int = 1) -> Result:
    """Kill the broker and start it again; stop it for fifteen seconds."""
    with cluster(ground, "broker", meters=METERS[:3]) as run:
        _started(run, 2, rate=1000)
        for _ in range(rounds):
            ground.broker.kill()
            time.sleep(2)
            ground.broker.start()
            _recover(run)
            ground.broker.stop_signal()
            time.sleep(15)
            ground.broker.continue_()
            _recover(run)
            run.runs += 2
        return run.finish("broker killed, broker stopped for 15 s")


def store_misbehaves(ground: Ground, rounds: int = 1, seconds: float = 5) -> Result:
    """Have the store refuse, stall, reset, lose its answers and fail, all statements or inserts only."""
    with cluster(ground, "store", meters=METERS[:3]) as run:
        _started(run, 2, rate=1000)
        for kind in FAULTS * rounds:
            struck = ground.store.struck(kind)
            ground.store.misbehave(kind, seconds=seconds, inserts_only=kind == "lose-answer", probability=0.8)
            time.sleep(seconds)
            ground.store.behave()
            _recover(run)
            assert kind == "refuse" or ground.store.struck(kind) > struck, f"{kind} struck nobody"
            run.runs += 1
        return run.finish("store refuses, stalls, resets, loses answers, fails")


def store_killed(ground: Ground, rounds: int = 3, command: tuple[str, ...] | None = None) -> Result:
    """Kill the store while it inserts, with the process whose insert it is, and start both again."""
    chance = Random(2)  # noqa: S311
    with cluster(ground, "store_killed", meters=METERS[:3], command=command) as run:
        members = _started(run, 2, rate=2000)
        for turn in range(rounds):
            time.sleep(chance.uniform(0.5, 1.5))
            ground.store.kill()
            if turn % 2:
                run.fleet.kill(chance.choice(members))
            ground.store.start()
            _recover(run)
            run.runs += 1
        return run.finish("store killed -9 while it inserts", allowed=(1,))


# --- what is in the topic ---------------------------------------------------------------------------------------------


def garbage(ground: Ground, rounds: int = 1) -> Result:
    """Put records that are no events among events, in both content modes: of every kind, of 10 MB, and very many."""
    with cluster(ground, "garbage", meters=METERS[:3]) as run:
        run.topic.take_large_records(32 << 20)
        members = _started(run, 2, rate=1000)
        for turn in range(rounds):
            for record, reason in GARBAGE:
                run.garbage(record, reason=reason)
            run.writer.send_in_binary_mode(100)
            run.writer.finish()
            run.writer.send_padded(10 << 20)
            for _ in range(10):  # never so many in a row that ingest stops
                run.garbage(*(Raw(number % 12, b"{") for number in range(300)))
                run.writer.send(300)
            run.writer.run(1000)
            run.fleet.kill(members[turn % 2])
            _recover(run)
            run.runs += 1
        return run.finish("garbage among events, records of 10 MB")


def partitions_added(ground: Ground, rounds: int = 1) -> Result:
    """Give the topic more partitions while it is read: subjects move, and new partitions are read from their start."""
    with cluster(ground, "grown", meters=METERS[:3], options={"topic.metadata.refresh.interval.ms": "1000"}) as run:
        members = _started(run, 2, rate=1000)
        for turn in range(rounds):
            run.topic.grow(PARTITIONS + 6 * (turn + 1))
            run.recovery.begins()
            time.sleep(2)
            run.writer.spread(PARTITIONS + 6 * (turn + 1))
            time.sleep(3)
            run.fleet.kill(members[turn % 2])
            _recover(run)
            run.runs += 1
        assert all(run.topic.ends().values()), "a new partition stayed empty: the scenario shows nothing"
        return run.finish("partitions added under load")


def twins(ground: Ground, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Send every event to two partitions at once, read by three processes, and kill between claim and insert."""
    with cluster(ground, "twins", meters=METERS[:3], twins=1.0, command=command) as run:
        members = _started(run, 3, rate=1500)
        for member in members:
            _wait_for_partitions(run, member)
        time.sleep(3)
        for turn in range(rounds):
            for member in members:
                _wait_for_partitions(run, member)
            kills = run.fleet.kills
            run.fleet.kill(members[turn % 3], ("ingest.after-claim:2", "ingest.after-insert:2", "")[turn % 3])
            if turn % 3 < 2:
                wait_until(lambda kills=kills: run.fleet.kills >= kills + 2, 60, "the step was not passed")  # type: ignore[misc]
            run.runs += 1
        return run.finish("every event on two partitions at once")


def months(ground: Ground, rounds: int = 1) -> Result:
    """Let batches span 200 months, which are cut, and kill in the middle of them."""
    with cluster(ground, "months", meters=METERS[:3], first=FIRST_BURST) as run:
        run.create(*run.meters)
        run.writer.send(1000)
        for turn in range(rounds):
            if turn:
                run.writer.send(50_000)  # there is a burst in it
            run.fleet.faults.append("ingest.after-plan:2")
            run.ingest(1 if not turn else 0)
            if turn:
                run.fleet.kill(run.fleet.members[-1])
            _recover(run)
            run.runs += 1
        return run.finish("batches of 200 months, killed between them")


def replay(ground: Ground, rounds: int = 1, killed: bool = False) -> Result:
    """Have the group read the whole topic again into the same store: nothing changes, no new dead letters."""
    with cluster(ground, "replayed", meters=METERS[:3]) as run:
        members = _started(run, 2, rate=1500)
        run.garbage(*(Raw(number % 12, b"{") for number in range(100)))
        time.sleep(4)
        run.writer.finish()
        wait_until(run.topic.is_drained, 60, "not everything was stored")
        for turn in range(rounds):
            if killed:  # with a batch under way
                run.fleet.faults += ["ingest.after-claim"] * 2
                for member in members:
                    run.fleet.kill(member)
                    member.wanted = False
                run.writer.send(3000)
                for member in members:
                    assert member.wait_for_death(60), "the armed step was not passed"
            else:
                for member in members:
                    assert run.fleet.retire(member) == 0, member.tail()
            wait_until(run.topic.is_deserted, 60, "the group has members still")
            run.topic.reset()
            run.recovery.begins()
            for member in members[: 1 + turn % 2]:
                member.start()
            run.recovery.wait(120)
            for member in members[1 + turn % 2 :]:
                member.start()
            run.runs += 1
        return run.finish(f"the whole topic read again{', after a kill' if killed else ''}")


# --- over HTTP --------------------------------------------------------------------------------------------------------


def over_http(ground: Ground, rounds: int = 1) -> Result:
    """Send events to `meterport api` while the broker is down: 503 with Retry-After, sent again until 204."""
    with cluster(ground, "http", meters=METERS[:3], variables={"METERPORT_KAFKA__PRODUCE_SECONDS": "2"}) as run:
        run.create(*run.meters)
        run.ingest(1)
        for turn in range(rounds):
            sender = HttpSender(run)
            sender.start()
            time.sleep(2)
            if turn % 2:
                ground.broker.stop_signal()
            else:
                ground.broker.kill()
            refused = sender.refused
            wait_until(lambda refused=refused, sender=sender: sender.refused > refused + 1, 30, "nothing was refused")  # type: ignore[misc]
            if turn % 2:
                ground.broker.continue_()
            else:
                ground.broker.start()
            run.recovery.begins()
            run.fleet.kill(run.api_process)
            time.sleep(3)
            sender.finish()
            run.recovery.wait(60)
            run.runs += 1
        return run.finish("events over HTTP while the broker is away")


# --- all of it --------------------------------------------------------------------------------------------------------


def at_random(
    ground: Ground,
    kills: int = 12,
    events: int = 40_000,
    pace: float = 3,
    seed: int = 3,
    protocol: str = "classic",
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Kill one of three every few seconds, at random or at a named step; brokers, store and meters have faults too.

    Args: pace: seconds between two faults; say: told how it goes.
    """
    with cluster(ground, "random", meters=METERS[:5], twins=0.1, protocol=protocol, seed=seed) as run:
        dice = Dice(run, Random(seed))  # noqa: S311
        _started(run, 3, rate=0)
        began = said = time.monotonic()
        while run.fleet.kills < kills:
            expected = min(1.0, run.fleet.kills / kills + 0.02)
            run.writer.rate = events / (kills * pace) if len(run.writer.numbers) < events * expected else 0
            dice.throw()
            time.sleep(dice.chance.uniform(0.5, 1.0) * pace)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                say(
                    f"{said - began:5.0f} s  {run.fleet.kills} of {kills} kills  {len(run.writer.numbers):,} events"
                    f"  {sum(dice.thrown.values())} faults: {dict(dice.thrown)}"
                )
        dice.wake_all()
        run.writer.finish()
        run.writer.send(max(0, events - len(run.writer.numbers)))
        run.runs = run.fleet.kills
        return run.finish(f"everything at random, {run.fleet.kills} kills", allowed=(1,))


# --- helpers ----------------------------------------------------------------------------------------------------------


def broken(guard: str) -> tuple[str, ...]:
    """Return the command of a `meterport ingest` that lacks a guard, or has another clock (broken_ingest.py)."""
    return sys.executable, "-m", "tests.chaos.broken_ingest", guard, "ingest"


def _started(run: Cluster, processes: int, rate: float) -> list[Process]:
    """Create the meters, start processes, and put the topic under load."""
    members = run.ingest(processes)  # at once with the API: whoever comes first makes the tables
    run.create(*run.meters)
    run.writer.run(rate)
    for member in members:
        member.wait_until_ready()
    return members


def _assignments(process: Process) -> list[bytes]:
    return process.all_said(rb"partitions_assigned partitions=\[(\d[^\]]*)\]")


def _owned(process: Process) -> set[int]:
    """Return the partitions a process has, by its log."""
    owned: set[int] = set()
    for what, listed in process.all_said(rb"partitions_(assigned|revoked) partitions=\[([^\]]*)\]"):
        numbers = {int(number) for number in listed.split(b",") if number}
        owned = owned | numbers if what == b"assigned" else owned - numbers
    return owned


def _leads(process: Process) -> bool:
    return 0 in _owned(process)


def _wait_for_all_partitions(run: Cluster) -> None:
    """Wait until each process has some, and all of them everything."""

    def shared_out() -> bool:
        owned = [_owned(member) for member in run.members]
        return all(owned) and sum(map(len, owned)) == PARTITIONS == len(set().union(*owned))

    wait_until(shared_out, 60, f"the partitions are not shared out:\n{run.tails()}")


def _wait_for_partitions(run: Cluster, process: Process) -> None:
    wait_until(lambda: bool(_assignments(process)), 60, f"{process.name} was given no partition:\n{run.tails()}")


def _recover(run: Cluster) -> None:
    """Say that a fault is over and wait until every partition goes on."""
    run.recovery.begins()
    run.recovery.wait(120)
