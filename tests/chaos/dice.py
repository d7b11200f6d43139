"""Faults chosen at random, one a throw: most of them a process killed.

Owns: how often each comes. Whatever a throw breaks is mended before it returns, or by the supervisor; only a stopped
process goes on later, at one of the next throws.
"""

import signal
import time
from collections import Counter
from random import Random
from typing import get_args

from engine.faults import POINTS
from tests.chaos.cluster import Cluster
from tests.chaos.processes import Process
from tests.chaos.topic import Raw
from tests.harness.clickhouse_faults import FaultKind

_STEPS = [point for point in POINTS if not point.startswith("log.") and point != "meter.after-delete"]
_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


class Dice:
    """Throws faults at one cluster."""

    def __init__(self, run: Cluster, chance: Random) -> None:
        self.chance = chance
        self.thrown: Counter[str] = Counter()
        self._run = run
        self._stopped: list[tuple[Process, float]] = []
        self._faults = {
            self.kill: 50,
            self.kill_at_a_step: 30,
            self.kill_api: 2,
            self.kill_broker: 1,
            self.stop_broker: 1,
            self.kill_store: 3,
            self.make_store_misbehave: 4,
            self.stop_process: 4,
            self.change_meters: 5,
            self.garbage: 5,
        }

    def throw(self) -> None:
        """Have one fault, and wake whoever was stopped long enough."""
        [fault] = self.chance.choices(list(self._faults), list(self._faults.values()))
        self.thrown[fault.__name__] += 1
        fault()
        for process, until in list(self._stopped):
            if time.monotonic() > until:
                process.signal(signal.SIGCONT)
                self._stopped.remove((process, until))

    def kill(self) -> None:
        self._kill("")

    def kill_at_a_step(self) -> None:
        self._kill(f"{self.chance.choice(_STEPS)}:{self.chance.randrange(1, 4)}")

    def _kill(self, fault: str) -> None:
        victim = self.chance.choice(self._run.members)
        self._stopped = [entry for entry in self._stopped if entry[0] is not victim]
        self._run.fleet.kill(victim, fault)

    def kill_api(self) -> None:
        self._run.fleet.kill(self._run.api_process)

    def kill_broker(self) -> None:
        self._run.ground.broker.kill()
        time.sleep(self.chance.uniform(0, 2))
        self._run.ground.broker.start()
        self._run.recovery.begins()

    def stop_broker(self) -> None:
        self._run.ground.broker.stop_signal()
        time.sleep(self.chance.uniform(1, 12))
        self._run.ground.broker.continue_()
        self._run.recovery.begins()

    def kill_store(self) -> None:
        self._run.ground.store.kill()
        if self.chance.random() < 0.5:
            self.kill()
        self._run.ground.store.start()
        self._run.recovery.begins()

    def make_store_misbehave(self) -> None:
        kind, seconds = self.chance.choice(_KINDS), self.chance.uniform(1, 6)
        self._run.ground.store.misbehave(
            kind, seconds=seconds, inserts_only=self.chance.random() < 0.5, probability=self.chance.choice([0.3, 1.0])
        )
        time.sleep(seconds)
        self._run.ground.store.behave()
        self._run.recovery.begins()

    def stop_process(self) -> None:
        """Stop one for longer than its group waits for it, or not quite."""
        victim = self.chance.choice(self._run.members)
        if victim.running and all(process is not victim for process, _ in self._stopped):
            victim.signal(signal.SIGSTOP)
            self._stopped.append((victim, time.monotonic() + self.chance.uniform(1, 8)))

    def change_meters(self) -> None:
        self._run.change_meters()

    def garbage(self) -> None:
        self._run.garbage(*(Raw(self.chance.randrange(12), b"{") for _ in range(5)))

    def wake_all(self) -> None:
        """Let every stopped process go on."""
        for process, _ in self._stopped:
            process.signal(signal.SIGCONT)
        self._stopped.clear()
