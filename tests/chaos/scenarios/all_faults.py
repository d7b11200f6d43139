"""The scenario in which all faults happen at random."""

import time
from collections.abc import Callable
from random import Random

from tests.chaos.cluster import Result, cluster
from tests.chaos.random_faults import RandomFaults
from tests.chaos.scenarios.members import started
from tests.chaos.services import Services
from tests.harness.crash import METERS


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
        started(run, 3, rate=0)
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
