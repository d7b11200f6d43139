"""`make chaos`: repeat each fault of the suite, then kill hundreds of times over millions of events; print the table.

It takes about an hour on two cores. Loopback only. All processes that it starts are ended. If something is wrong, it
keeps the logs and the data, in the directory that it printed at the start.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from tests.chaos import embedded
from tests.chaos.cluster import Result
from tests.chaos.scenarios import all_faults, process_faults, service_faults, unusual_topics
from tests.chaos.services import Services

SCENARIOS: list[Callable[[Services, int], Result]] = [
    process_faults.every_step,
    lambda services, rounds: process_faults.membership(services, rounds, "classic"),
    lambda services, rounds: process_faults.membership(services, rounds, "consumer"),
    lambda services, rounds: process_faults.split_plans(services, 3 * rounds),
    process_faults.half_inserted,
    lambda services, rounds: process_faults.zombie(services, rounds, "classic"),
    lambda services, rounds: process_faults.zombie(services, rounds, "consumer"),
    process_faults.clocks_apart,
    service_faults.broker_away,
    lambda services, rounds: service_faults.store_misbehaves(services, rounds, 30),
    lambda services, rounds: service_faults.store_killed(services, 3 * rounds),
    unusual_topics.garbage,
    unusual_topics.partitions_added,
    lambda services, rounds: unusual_topics.twins(services, 3 * rounds),
    unusual_topics.months,
    unusual_topics.replay,
    lambda services, rounds: unusual_topics.replay(services, rounds, killed=True),
    service_faults.over_http,
    lambda services, rounds: embedded.embedded_killed(services, 10 * rounds),
    embedded.embedded_with_default_sessions,
    embedded.embedded_split_plan,
]


def main(
    rounds: Annotated[int, typer.Option(help="How often each fault is repeated; 0: only random faults.")] = 2,
    kills: Annotated[int, typer.Option(help="Random kills: one of three processes every second or two.")] = 505,
    events: Annotated[int, typer.Option(help="Events that are metered during the random kills.")] = 5_050_000,
) -> None:
    """Run all scenarios, and print a line of the table for each."""
    directory = Path(tempfile.mkdtemp(prefix="meterport-chaos-"))
    _report(f"data and logs in {directory}")
    services = Services(directory)
    try:
        services.start()
        typer.echo("| fault | runs | events | lost | doubled | seconds to recover: median, maximum |")
        typer.echo("|---|---|---|---|---|---|")
        for scenario in SCENARIOS if rounds else ():
            typer.echo(_line(scenario(services, rounds)))
        if kills:
            typer.echo(_line(all_faults.at_random(services, kills, events, pace=1.5, report=_report)))
    finally:
        services.close()
    shutil.rmtree(directory)


def _line(result: Result) -> str:
    seconds = result.seconds or [0.0]
    return (
        f"| {result.scenario} | {result.runs} | {result.events:,} | {result.lost} | {result.doubled} "
        f"| {median(seconds):.0f}, {max(seconds):.0f} |"
    )


def _report(progress: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')} {progress}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
