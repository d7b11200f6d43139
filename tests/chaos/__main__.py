"""`make chaos`: every fault of the suite repeated, then hundreds of kills over millions of events; prints the table.

Takes about an hour on two cores. Loopback only; whatever it starts it ends. Where something is wrong, logs and data
are kept, and it says where.
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

from tests.chaos import alone, scenarios
from tests.chaos.cluster import Ground, Result

SCENARIOS: list[Callable[[Ground, int], Result]] = [
    scenarios.every_step,
    lambda ground, rounds: scenarios.membership(ground, rounds, "classic"),
    lambda ground, rounds: scenarios.membership(ground, rounds, "consumer"),
    lambda ground, rounds: scenarios.plans_that_part(ground, 3 * rounds),
    scenarios.half_inserted,
    lambda ground, rounds: scenarios.zombie(ground, rounds, "classic"),
    lambda ground, rounds: scenarios.zombie(ground, rounds, "consumer"),
    scenarios.clocks_apart,
    scenarios.broker_away,
    lambda ground, rounds: scenarios.store_misbehaves(ground, rounds, 30),
    lambda ground, rounds: scenarios.store_killed(ground, 3 * rounds),
    scenarios.garbage,
    scenarios.partitions_added,
    lambda ground, rounds: scenarios.twins(ground, 3 * rounds),
    scenarios.months,
    scenarios.replay,
    lambda ground, rounds: scenarios.replay(ground, rounds, killed=True),
    scenarios.over_http,
    lambda ground, rounds: alone.alone_killed(ground, 10 * rounds),
    alone.alone_for_default_sessions,
    alone.alone_parted,
]


def main(
    rounds: Annotated[int, typer.Option(help="How often each fault; 0: only those at random.")] = 2,
    kills: Annotated[int, typer.Option(help="Kills at random, one of three processes every second or two.")] = 505,
    events: Annotated[int, typer.Option(help="Events metered meanwhile.")] = 5_050_000,
) -> None:
    """Run all, and print a line of the table for each."""
    directory = Path(tempfile.mkdtemp(prefix="meterport-chaos-"))
    _say(f"data and logs in {directory}")
    ground = Ground(directory)
    try:
        ground.start()
        typer.echo("| fault | runs | events | lost | doubled | seconds to recover: median, most |")
        typer.echo("|---|---|---|---|---|---|")
        for scenario in SCENARIOS if rounds else ():
            typer.echo(_line(scenario(ground, rounds)))
        if kills:
            typer.echo(_line(scenarios.at_random(ground, kills, events, pace=1.5, say=_say)))
    finally:
        ground.close()
    shutil.rmtree(directory)


def _line(result: Result) -> str:
    seconds = result.seconds or [0.0]
    return (
        f"| {result.scenario} | {result.runs} | {result.events:,} | {result.lost} | {result.doubled} "
        f"| {median(seconds):.0f}, {max(seconds):.0f} |"
    )


def _say(progress: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')} {progress}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
