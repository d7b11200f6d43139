"""What the scenarios of this folder do with the members of their group: start them, and wait for their partitions.

A scenario is one function, and in each of them every event must be counted once. All share the broker and the store,
but each has its own topic and database. Each ends with `Cluster.finish`, which compares everything, and returns its
line of the table.
"""

import sys

from tests.chaos.cluster import PARTITIONS, Cluster
from tests.chaos.processes import Process
from tests.chaos.recovery import wait_until


def broken(guard: str) -> tuple[str, ...]:
    """Return the command of a `meterport ingest` without a guard (broken_ingest.py)."""
    return sys.executable, "-m", "tests.chaos.broken_ingest", guard, "ingest"


def started(run: Cluster, processes: int, rate: float) -> list[Process]:
    """Create the meters, start the processes, and send events to the topic."""
    members = run.ingest(processes)  # at the same time as the API: the first of them creates the tables
    run.create(*run.meters)
    run.writer.run(rate * run.services.load)
    for member in members:
        member.wait_until_ready()
    return members


def assignments(process: Process) -> list[bytes]:
    return process.find_all_in_log(rb"partitions_assigned partitions=\[(\d[^\]]*)\]")


def _assigned_partitions(process: Process) -> set[int]:
    """Return the partitions that a process has according to its log."""
    owned: set[int] = set()
    for what, listed in process.find_all_in_log(rb"partitions_(assigned|revoked) partitions=\[([^\]]*)\]"):
        numbers = {int(number) for number in listed.split(b",") if number}
        owned = owned | numbers if what == b"assigned" else owned - numbers
    return owned


def leads(process: Process) -> bool:
    return 0 in _assigned_partitions(process)


def wait_for_all_partitions(run: Cluster) -> None:
    """Wait until each process has some partitions, and together they have all."""

    def is_assigned() -> bool:
        owned = [_assigned_partitions(member) for member in run.members]
        return all(owned) and sum(map(len, owned)) == PARTITIONS == len(set().union(*owned))

    wait_until(is_assigned, f"the partitions are not all assigned:\n{run.tails()}")


def wait_for_partitions(run: Cluster, process: Process) -> None:
    wait_until(lambda: bool(assignments(process)), f"{process.name} got no partition:\n{run.tails()}")


def recover(run: Cluster) -> None:
    """Start a measurement at the end of a fault, and wait until all partitions continue."""
    run.recovery.fault_ended()
    run.recovery.wait()
