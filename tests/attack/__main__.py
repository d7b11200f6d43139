"""`python -m tests.attack`: attack one server with 1 GiB for minutes while others use it, and print what they saw.

Loopback only. Each form of attack has a limited count and rate (attackers.py). All processes that it starts are ended.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import httpx
import typer

from tests.attack.control_group import ControlGroup
from tests.attack.witnesses import BATCH_TYPE, TENANT, Dashboard, HealthProbe, Producer, Revoker, Witness
from tests.harness.preloaded import ROOT
from tests.harness.server import SERVE, Server

KEY = "the-management-key-of-the-attack"
ATTACKER = "mallory"
CALLS: dict[str, object] = {
    "slug": "calls", "eventType": "call", "aggregation": "SUM", "valueProperty": "$.tokens",
    "groupBy": {"model": "$.model"},
}  # fmt: skip
EXPENSIVE: dict[str, object] = {
    "slug": "lever", "eventType": "lever", "aggregation": "UNIQUE_COUNT", "valueProperty": "$.rid",
    "groupBy": {"rid": "$['rid']"},
}  # fmt: skip
STORED: dict[str, object] = {"slug": "stored", "eventType": "call", "aggregation": "COUNT"}  # created at the end
_LOAD_BATCH = 10_000
_DAY_MINUTES = 29 * 24 * 60


@dataclass
class Phase:
    """One phase of the run: what the well-behaved clients saw during it."""

    name: str
    dashboard: Dashboard
    revoker: Revoker
    probes: Sequence[HealthProbe]

    def line(self) -> str:
        """Return the phase as a row of the table."""
        times = self.dashboard.milliseconds
        cuts = quantiles(times, n=100)
        return (
            f"| {self.name} | {len(times)} | {cuts[49]:.0f} | {cuts[98]:.0f} | {dict(self.dashboard.failures) or 0} "
            f"| {len(self.revoker.seconds)} | {max(self.revoker.seconds):.2f} | {dict(self.revoker.failures) or 0} "
            f"| {dict(self.health)} |"
        )

    @property
    def health(self) -> Counter[str]:
        """Return how often both ports gave each answer to `/readyz`."""
        return sum((probe.answers for probe in self.probes), Counter())

    def p99(self) -> float:
        """Return the 99th percentile of the dashboard's queries, in milliseconds."""
        return quantiles(self.dashboard.milliseconds, n=100)[98]


class AttackRun:
    """One run: the server, its events, and the phases."""

    def __init__(self, directory: Path, memory_bytes: int, rate: int) -> None:
        self.control_group = ControlGroup.create(memory_bytes) if memory_bytes else None
        command = self.control_group.command(SERVE) if self.control_group else SERVE
        self.server = Server(directory, command, {"METERPORT_API_KEY": KEY, "METERPORT_SERVER__TELEMETRY_PORT": "0"})
        self.server.start()
        self.url = str(self.server.url)
        self.telemetry = self.server.telemetry_url()
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        for meter in (CALLS, EXPENSIVE):
            self.client.post("/api/v1/meters", json=meter).raise_for_status()
        self.producer = Producer(self.url, KEY, rate)

    def load(self, values: int) -> None:
        """Send, for the attacker's tenant, one event for each of `values` values of a group-by key."""
        for first in range(0, values, _LOAD_BATCH):
            body = (
                "["
                + ",".join(_expensive_event(number) for number in range(first, min(first + _LOAD_BATCH, values)))
                + "]"
            )
            answer = self.client.post("/api/v1/events", content=body, headers={"Content-Type": BATCH_TYPE})
            answer.raise_for_status()
        self.drain()

    def drain(self) -> None:
        """Wait until all accepted events are stored."""
        deadline = time.monotonic() + 600
        while "meterport_log_records 0.0" not in httpx.get(f"{self.telemetry}/metrics", timeout=30).text:
            assert time.monotonic() < deadline, f"the log does not become empty\n{self.server.tail()}"
            time.sleep(0.2)

    def token(self, subject: str) -> str:
        """Return a new token for a subject."""
        answer = self.client.post("/api/v1/portal/tokens", json={"subject": subject}).raise_for_status()
        return str(answer.json()["token"])

    def phase(self, name: str, seconds: float, attackers: subprocess.Popen[str] | None = None) -> Phase:
        """Let the clients work for some seconds. Raises: AssertionError: the server died."""
        phase = Phase(
            name, Dashboard(self.url, self.token(TENANT)), Revoker(self.url, KEY),
            [HealthProbe(self.telemetry), HealthProbe(self.url)],
        )  # fmt: skip
        clients: list[Witness] = [phase.dashboard, phase.revoker, *phase.probes]
        for client in clients:
            client.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(30, max(0, until - time.monotonic())))
            assert self.server.running, f"the server died\n{self.server.tail()}"
            report(f"{name}: {len(phase.dashboard.milliseconds)} answers, {self.producer.accepted} events")
        if attackers:
            attackers.wait(120)
        for client in clients:
            client.finish()
        return phase

    def attackers(self, seconds: float, idle_connections: int) -> subprocess.Popen[str]:
        """Start the attack."""
        arguments = [self.url, self.token(ATTACKER), "lever", str(seconds), str(idle_connections)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.attack.attackers", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def lost_and_doubled(self) -> tuple[int, int]:
        """Compare the accepted events with the stored and counted ones. Return (lost, doubled)."""
        self.drain()
        accepted = self.producer.accepted
        self.client.post("/api/v1/meters", json=STORED).raise_for_status()
        stored = self._total("stored")
        tokens, expected = self._total("calls"), sum(number % 1000 for number in range(accepted))
        assert tokens == expected, f"{tokens} of {expected} tokens are counted, and {stored} of {accepted} events"
        return max(0, accepted - stored), max(0, stored - accepted)

    def _total(self, slug: str) -> int:
        answer = self.client.get(f"/api/v1/meters/{slug}/query").raise_for_status()
        return int(answer.json()["data"][0]["value"])

    def close(self) -> None:
        """End the server and remove its control group."""
        self.client.close()
        self.server.kill()
        if self.control_group:
            self.control_group.remove()


def _expensive_event(number: int) -> str:
    minute = number * 7919 % _DAY_MINUTES
    at = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() - 60 * minute))
    return (
        f'{{"specversion":"1.0","id":"{number}","source":"lever","type":"lever","subject":"{ATTACKER}",'
        f'"time":"{at}","data":{{"rid":"req-{number:012d}-abcdefghijklmnopqrstu"}}}}'
    )


def report(progress: str) -> None:
    """Print a progress line to stderr."""
    typer.echo(f"{time.strftime('%H:%M:%S')} {progress}", file=sys.stderr)


@dataclass
class Outcome:
    """The result of a run. `endings`: form of attack → how a connection or request ended → count."""

    phases: list[Phase]
    accepted: int
    lost: int
    doubled: int
    refusals: dict[str, int]
    kills: int | None
    endings: dict[str, dict[str, int]]


def run_attack(
    directory: Path,
    *,
    seconds: float,
    quiet_seconds: float,
    rate: int,
    values: int,
    memory_bytes: int,
    idle_connections: int,
) -> Outcome:
    """Start a server in `directory` and attack it. Raises: AssertionError: it died, or its usage is wrong."""
    run = AttackRun(directory, memory_bytes, rate)
    try:
        if not run.control_group:
            report("the memory of the server is NOT limited")
        run.load(values)
        run.producer.start()
        quiet = run.phase("quiet", quiet_seconds)
        attackers = run.attackers(seconds, idle_connections)
        attacked = run.phase("under attack", seconds, attackers)
        after = run.phase("after it", quiet_seconds)
        run.producer.finish()
        lost, doubled = run.lost_and_doubled()
        return Outcome(
            [quiet, attacked, after],
            run.producer.accepted,
            lost,
            doubled,
            dict(run.producer.refusals),
            run.control_group.kills() if run.control_group else None,
            json.loads(attackers.communicate()[0]),
        )
    finally:
        run.close()


def main(
    seconds: Annotated[int, typer.Option(help="Seconds of the attack.")] = 600,
    quiet_seconds: Annotated[int, typer.Option(help="Seconds without attack before it and after it.")] = 60,
    rate: Annotated[int, typer.Option(help="Events that the producer sends per second.")] = 500,
    values: Annotated[int, typer.Option(help="Number of different values of the attacker's group-by key.")] = 1_000_000,
    memory_mib: Annotated[int, typer.Option(help="Memory of the server in MiB; 0: no limit.")] = 1024,
    idle_connections: Annotated[int, typer.Option(help="Maximum number of connections that send nothing.")] = 1500,
) -> None:
    """Attack one server, and print a table of what its other clients saw."""
    directory = Path(tempfile.mkdtemp(prefix="meterport-attack-"))
    report(f"data and logs in {directory}")
    outcome = run_attack(
        directory,
        seconds=seconds,
        quiet_seconds=quiet_seconds,
        rate=rate,
        values=values,
        memory_bytes=memory_mib << 20,
        idle_connections=idle_connections,
    )
    print_outcome(outcome)


def print_outcome(outcome: Outcome) -> None:
    """Print the tables."""
    typer.echo("| | answers | p50 ms | p99 ms | failed | revocations | slowest s | failed | /readyz |")
    typer.echo("|---|---|---|---|---|---|---|---|---|")
    for phase in outcome.phases:
        typer.echo(phase.line())
    quiet, attacked, _ = outcome.phases
    typer.echo(f"p99 under attack: {attacked.p99() / quiet.p99():.1f} times the p99 before it")
    typer.echo(f"events accepted {outcome.accepted}, lost {outcome.lost}, doubled {outcome.doubled}")
    typer.echo(f"refused requests of the producer, which it sent again: {outcome.refusals or 'none'}")
    typer.echo(
        f"processes killed because of the memory limit: {'not limited' if outcome.kills is None else outcome.kills}"
    )
    typer.echo("\n| attack | how its connections or requests ended |\n|---|---|")
    for form, counts in outcome.endings.items():
        typer.echo(f"| {form} | {', '.join(f'{count} {ending}' for ending, count in counts.items())} |")


if __name__ == "__main__":
    typer.run(main)
