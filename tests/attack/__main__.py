"""`python -m tests.attack`: one server in 1 GiB, attacked for minutes while others use it; prints what they saw.

Loopback only; every form of attack is bounded in count and rate (attackers.py); whatever it starts it ends.
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

from tests.attack.cage import Cage
from tests.attack.witnesses import BATCH_TYPE, TENANT, Dashboard, HealthProbe, Producer, Revoker, Witness
from tests.harness.server import ROOT, SERVE, Server

KEY = "the-management-key-of-the-attack"
ATTACKER = "mallory"
CALLS: dict[str, object] = {
    "slug": "calls", "eventType": "call", "aggregation": "SUM", "valueProperty": "$.tokens",
    "groupBy": {"model": "$.model"},
}  # fmt: skip
LEVER: dict[str, object] = {
    "slug": "lever", "eventType": "lever", "aggregation": "UNIQUE_COUNT", "valueProperty": "$.rid",
    "groupBy": {"rid": "$['rid']"},
}  # fmt: skip
STORED: dict[str, object] = {"slug": "stored", "eventType": "call", "aggregation": "COUNT"}  # made at the end
_LOAD_BATCH = 10_000
_DAY_MINUTES = 29 * 24 * 60


@dataclass
class Phase:
    """What the clients that mean well saw for some time."""

    name: str
    dashboard: Dashboard
    revoker: Revoker
    probes: Sequence[HealthProbe]

    def line(self) -> str:
        """Return it as a row of the table."""
        times = self.dashboard.milliseconds
        cuts = quantiles(times, n=100)
        return (
            f"| {self.name} | {len(times)} | {cuts[49]:.0f} | {cuts[98]:.0f} | {dict(self.dashboard.failures) or 0} "
            f"| {len(self.revoker.seconds)} | {max(self.revoker.seconds):.2f} | {dict(self.revoker.failures) or 0} "
            f"| {dict(self.health)} |"
        )

    @property
    def health(self) -> Counter[str]:
        """What both ports answered to `/readyz`, by answer."""
        return sum((probe.answers for probe in self.probes), Counter())

    def p99(self) -> float:
        """Return the dashboards' 99th percentile, in milliseconds."""
        return quantiles(self.dashboard.milliseconds, n=100)[98]


class Siege:
    """The server, its events, and the phases."""

    def __init__(self, directory: Path, memory_bytes: int, rate: int) -> None:
        self.cage = Cage.made(memory_bytes) if memory_bytes else None
        command = self.cage.command(SERVE) if self.cage else SERVE
        self.server = Server(directory, command, {"METERPORT_API_KEY": KEY, "METERPORT_SERVER__TELEMETRY_PORT": "0"})
        self.server.start()
        self.url = str(self.server.url)
        self.telemetry = self.server.telemetry_url()
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        for meter in (CALLS, LEVER):
            self.client.post("/api/v1/meters", json=meter).raise_for_status()
        self.producer = Producer(self.url, KEY, rate)

    def load(self, values: int) -> None:
        """Give the attacker's tenant one event for each of so many values of a key."""
        for first in range(0, values, _LOAD_BATCH):
            body = (
                "[" + ",".join(_lever_event(number) for number in range(first, min(first + _LOAD_BATCH, values))) + "]"
            )
            answer = self.client.post("/api/v1/events", content=body, headers={"Content-Type": BATCH_TYPE})
            answer.raise_for_status()
        self.drain()

    def drain(self) -> None:
        """Wait until everything accepted is stored."""
        deadline = time.monotonic() + 600
        while "meterport_log_records 0.0" not in httpx.get(f"{self.telemetry}/metrics", timeout=30).text:
            assert time.monotonic() < deadline, f"the log does not become empty\n{self.server.tail()}"
            time.sleep(0.2)

    def token(self, subject: str) -> str:
        """Return a new token of a subject."""
        answer = self.client.post("/api/v1/portal/tokens", json={"subject": subject}).raise_for_status()
        return str(answer.json()["token"])

    def phase(self, name: str, seconds: float, attackers: subprocess.Popen[str] | None = None) -> Phase:
        """Let the clients work for so long. Raises: AssertionError: the server died."""
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
            say(f"{name}: {len(phase.dashboard.milliseconds)} answers, {self.producer.accepted} events")
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
        """Compare what the producer had accepted with what is stored and counted. Returns (lost, doubled)."""
        self.drain()
        accepted = self.producer.accepted
        self.client.post("/api/v1/meters", json=STORED).raise_for_status()
        stored = self._total("stored")
        tokens, expected = self._total("calls"), sum(number % 1000 for number in range(accepted))
        assert tokens == expected, f"{tokens} tokens are counted of {expected}; {stored} events of {accepted}"
        return max(0, accepted - stored), max(0, stored - accepted)

    def _total(self, slug: str) -> int:
        answer = self.client.get(f"/api/v1/meters/{slug}/query").raise_for_status()
        return int(answer.json()["data"][0]["value"])

    def close(self) -> None:
        """End the server and what is around it."""
        self.client.close()
        self.server.kill()
        if self.cage:
            self.cage.remove()


def _lever_event(number: int) -> str:
    minute = number * 7919 % _DAY_MINUTES
    at = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() - 60 * minute))
    return (
        f'{{"specversion":"1.0","id":"{number}","source":"lever","type":"lever","subject":"{ATTACKER}",'
        f'"time":"{at}","data":{{"rid":"req-{number:012d}-abcdefghijklmnopqrstu"}}}}'
    )


def say(progress: str) -> None:
    """Say on stderr how far it is."""
    typer.echo(f"{time.strftime('%H:%M:%S')} {progress}", file=sys.stderr)


@dataclass
class Outcome:
    """What a whole attack came to. `endings`: form of attack → how it ended → count."""

    phases: list[Phase]
    accepted: int
    lost: int
    doubled: int
    refusals: dict[str, int]
    kills: int | None
    endings: dict[str, dict[str, int]]


def besiege(
    directory: Path,
    *,
    seconds: float,
    quiet_seconds: float,
    rate: int,
    values: int,
    memory_bytes: int,
    idle_connections: int,
) -> Outcome:
    """Attack a server of its own in `directory`. Raises: AssertionError: it died, or its usage is wrong."""
    siege = Siege(directory, memory_bytes, rate)
    try:
        if not siege.cage:
            say("the server's memory is NOT limited")
        siege.load(values)
        siege.producer.start()
        quiet = siege.phase("quiet", quiet_seconds)
        attackers = siege.attackers(seconds, idle_connections)
        attacked = siege.phase("under attack", seconds, attackers)
        after = siege.phase("after it", quiet_seconds)
        siege.producer.finish()
        lost, doubled = siege.lost_and_doubled()
        return Outcome(
            [quiet, attacked, after],
            siege.producer.accepted,
            lost,
            doubled,
            dict(siege.producer.refusals),
            siege.cage.kills() if siege.cage else None,
            json.loads(attackers.communicate()[0]),
        )
    finally:
        siege.close()


def main(
    seconds: Annotated[int, typer.Option(help="Length of the attack.")] = 600,
    quiet_seconds: Annotated[int, typer.Option(help="Length of the quiet time before it, and after it.")] = 60,
    rate: Annotated[int, typer.Option(help="Events a second from the producer.")] = 500,
    values: Annotated[int, typer.Option(help="Different values of the attacker's group-by key.")] = 1_000_000,
    memory_mib: Annotated[int, typer.Option(help="Memory of the server; 0: no limit.")] = 1024,
    idle_connections: Annotated[int, typer.Option(help="Connections that send nothing, at most.")] = 1500,
) -> None:
    """Attack one server, and print the table of what its other clients saw."""
    directory = Path(tempfile.mkdtemp(prefix="meterport-attack-"))
    say(f"data and logs in {directory}")
    outcome = besiege(
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
    typer.echo(f"p99 under attack: {attacked.p99() / quiet.p99():.1f} times the quiet one")
    typer.echo(f"events accepted {outcome.accepted}, lost {outcome.lost}, doubled {outcome.doubled}")
    typer.echo(f"refusals of events, which the producer sent again: {outcome.refusals or 'none'}")
    typer.echo(f"processes killed for memory: {'not limited' if outcome.kills is None else outcome.kills}")
    typer.echo("\n| attack | how its connections or requests ended |\n|---|---|")
    for form, counts in outcome.endings.items():
        typer.echo(f"| {form} | {', '.join(f'{count} {ending}' for ending, count in counts.items())} |")


if __name__ == "__main__":
    typer.run(main)
