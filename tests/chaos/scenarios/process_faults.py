"""Scenarios in which our processes die, stop for a while, or have a wrong clock, one function each.

`rounds`: how often the fault is repeated. tests/chaos/scenarios/members.py says what all scenarios have in common.
"""

import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from engine.faults import POINTS
from tests.chaos.cluster import PARTITIONS, Cluster, Result, cluster
from tests.chaos.processes import Process
from tests.chaos.recovery import wait_until
from tests.chaos.scenarios.members import (
    assignments,
    leads,
    recover,
    started,
    wait_for_all_partitions,
    wait_for_partitions,
)
from tests.chaos.services import Services
from tests.chaos.writer import RawRecord
from tests.harness.crash import METERS

INGEST_STEPS = [point for point in POINTS if point.startswith("ingest.")]
FILL_STEPS = [point for point in POINTS if point.startswith("fill.")]
METER_STEPS = [point for point in POINTS if point.startswith("meter.") and point != "meter.after-delete"]


def every_step(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Kill `meterport ingest` at each of its fault points, and `meterport api` at those of a meter's life."""
    with cluster(services, "steps", meters=METERS[:3], command=command) as run:
        members = started(run, 2, rate=800)
        for turn in range(rounds):
            # A member creates the configured meters when it starts for the first time, and never again.
            steps = [*INGEST_STEPS, *METER_STEPS] if turn == 0 and not services.calm else INGEST_STEPS
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

    wait_until(are_dead, f"not reached: {faults}", progress=run.fleet.deaths_at.total)


def membership(services: Services, rounds: int = 1, protocol: str = "classic") -> Result:
    """Let processes join, leave and be killed under load, so that several members inherit one plan's partitions."""
    with cluster(services, f"membership_{protocol}", protocol=protocol) as run:
        members = started(run, 1, rate=1500)
        for _ in range(rounds):
            if len(members) == 1:
                members += run.ingest(2)
            for member in members:
                wait_for_partitions(run, member)
            for victim in members[:1] if services.calm else members:
                run.fleet.kill(victim)
                wait_for_partitions(run, victim)
                run.runs += 1
            leaver = members[-1]
            assert run.fleet.retire(leaver) == 0, leaver.tail()
            time.sleep(1)
            leaver.start()
            wait_for_partitions(run, leaver)
            run.runs += 1
        return run.finish(f"members join, leave and die ({protocol})")


def split_plans(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Kill one of three processes that has a plan, so that the two others finish it, each for its own partitions."""
    with cluster(services, "split", meters=METERS[:3], command=command) as run:
        members = started(run, 3, rate=1500)
        steps = ["ingest.after-claim", "ingest.after-insert", "ingest.after-plan"]
        for turn in range(6 * rounds):  # the group decides who gets the partitions: repeat it until both get some
            if turn >= rounds and _split_plan_count(members):
                break
            for member in members:
                wait_for_partitions(run, member)
            victim = members[turn % 3]
            run.fleet.kill(victim, f"{steps[turn % 3]}:2")
            victim.is_supervised = False  # so that the others get its partitions
            assert victim.wait_for_death(), f"the armed fault point was not reached\n{victim.tail()}"
            run.recovery.fault_ended()
            run.recovery.wait()
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
        members = started(run, 2, rate=1000)
        wait_until(run.is_ready, "a meter was not filled")
        for turn in range(rounds):
            with run.client() as client:
                tables = f"SELECT name FROM system.tables WHERE database = '{run.database}'"
                [table] = client.query(f"{tables} AND name LIKE 'meter_tokens_%_day'").first_row
                client.command(f"ALTER TABLE `{table}` ADD CONSTRAINT poison CHECK subject = ''")
                for member in members:
                    wait_until(lambda member=member: bool(member.find_in_log(b"poison")), "no insert failed")  # type: ignore[misc]
                for member in members[: 1 + turn % 2]:
                    run.fleet.kill(member)
                client.command(f"ALTER TABLE `{table}` DROP CONSTRAINT poison")
            recover(run)
            run.runs += 1
        return run.finish("kill -9 with an insert half done")


def clocks_apart(services: Services, rounds: int = 1) -> Result:
    """Create meters while one process's clock is slow and another's is fast: fills and batches must still agree.

    The clock of the process that fills is right. In every second turn there are few events: then the slow process has
    no batch in progress when a barrier is set, and learns of the barrier only with its next batch.
    """
    with cluster(services, "clocks", meters=METERS[:2], command=_with_clock(0)) as run:
        members = started(run, 3, rate=1000)
        for seconds in (-7, 3):
            wait_for_all_partitions(run)
            other = next(member for member in members if member.command == _with_clock(0) and not leads(member))
            other.command = _with_clock(seconds)
            run.fleet.kill(other)
        for turn in range(2 if services.calm else 6 * rounds):
            wait_for_all_partitions(run)
            run.writer.rate = 1 if turn % 2 else 1000 * services.load
            run.create(run.extra_meter())
            time.sleep(1.5)
            if turn % 2:
                run.fleet.kill(members[turn // 2 % 3])
                run.runs += 1
        run.writer.rate = 1000 * services.load
        run.recovery.wait()
        return run.finish("clocks 7 s behind and 3 s ahead, meters created")


def _with_clock(seconds: int) -> tuple[str, ...]:
    return sys.executable, "-m", "tests.chaos.other_clock", str(seconds), "ingest"


def zombie(services: Services, rounds: int = 1, protocol: str = "classic") -> Result:
    """Stop a process for longer than its group waits for it, also in the middle of an insert, and continue it."""
    with cluster(services, f"zombie_{protocol}", meters=METERS[:3], protocol=protocol) as run:
        members = started(run, 2, rate=1500)
        for turn in range(2 * rounds):
            for member in members:
                wait_for_partitions(run, member)
            victim, other = members[turn % 2], members[1 - turn % 2]
            if turn % 2:
                _stop_in_an_insert(run, victim)
            else:
                victim.signal(signal.SIGSTOP)
            taken = len(assignments(other))
            wait_until(
                lambda taken=taken, other=other: len(assignments(other)) > taken,  # type: ignore[misc]
                "the other process did not take over",
            )
            run.recovery.fault_ended()
            run.recovery.wait()
            back = len(assignments(victim))
            victim.signal(signal.SIGCONT)
            wait_until(
                lambda back=back, victim=victim: len(assignments(victim)) > back,  # type: ignore[misc]
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
