"""Random faults, one per call. Most of them kill a process.

Owns: how often each fault is chosen. A call repairs what it broke before it returns, or the supervisor does. Only a
stopped process continues later, during one of the next calls.
"""

import signal
import time
from collections import Counter
from random import Random
from typing import get_args

from engine.faults import POINTS
from tests.chaos.cluster import Cluster
from tests.chaos.processes import Process
from tests.chaos.writer import RawRecord
from tests.harness.clickhouse_faults import FaultKind

_POINTS = [point for point in POINTS if not point.startswith(("log.", "schema.")) and point != "meter.after-delete"]
_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


class RandomFaults:
    """Injects random faults into one cluster."""

    def __init__(self, run: Cluster, random: Random) -> None:
        self.random = random
        self.injected: Counter[str] = Counter()
        self._run = run
        self._stopped: list[tuple[Process, float]] = []
        self._faults = {
            self.kill: 50,
            self.kill_at_fault_point: 30,
            self.kill_api: 2,
            self.kill_broker: 1,
            self.stop_broker: 1,
            self.kill_store: 3,
            self.make_store_misbehave: 4,
            self.stop_process: 4,
            self.change_meters: 5,
            self.garbage: 5,
        }

    def inject(self) -> None:
        """Inject one fault, and continue the processes that were stopped for long enough."""
        [fault] = self.random.choices(list(self._faults), list(self._faults.values()))
        self.injected[fault.__name__] += 1
        fault()
        for process, until in list(self._stopped):
            if time.monotonic() > until:
                process.signal(signal.SIGCONT)
                self._stopped.remove((process, until))

    def kill(self) -> None:
        self._kill("")

    def kill_at_fault_point(self) -> None:
        self._kill(f"{self.random.choice(_POINTS)}:{self.random.randrange(1, 4)}")

    def _kill(self, fault: str) -> None:
        victim = self.random.choice(self._run.members)
        self._stopped = [entry for entry in self._stopped if entry[0] is not victim]
        self._run.fleet.kill(victim, fault)

    def kill_api(self) -> None:
        self._run.fleet.kill(self._run.api_process)

    def kill_broker(self) -> None:
        self._run.services.broker.kill()
        time.sleep(self.random.uniform(0, 2))
        self._run.services.broker.start()
        self._run.recovery.fault_ended()

    def stop_broker(self) -> None:
        self._run.services.broker.stop_signal()
        time.sleep(self.random.uniform(1, 12))
        self._run.services.broker.continue_()
        self._run.recovery.fault_ended()

    def kill_store(self) -> None:
        self._run.services.store.kill()
        if self.random.random() < 0.5:
            self.kill()
        self._run.services.store.start()
        self._run.recovery.fault_ended()

    def make_store_misbehave(self) -> None:
        kind, seconds = self.random.choice(_KINDS), self.random.uniform(1, 6)
        self._run.services.store.misbehave(
            kind, seconds=seconds, inserts_only=self.random.random() < 0.5, probability=self.random.choice([0.3, 1.0])
        )
        time.sleep(seconds)
        self._run.services.store.behave()
        self._run.recovery.fault_ended()

    def stop_process(self) -> None:
        """Stop a process for longer than its group waits for it, or for a little less."""
        victim = self.random.choice(self._run.members)
        if victim.running and all(process is not victim for process, _ in self._stopped):
            victim.signal(signal.SIGSTOP)
            self._stopped.append((victim, time.monotonic() + self.random.uniform(1, 8)))

    def change_meters(self) -> None:
        self._run.change_meters()

    def garbage(self) -> None:
        self._run.garbage(*(RawRecord(self.random.randrange(12), b"{") for _ in range(5)))

    def wake_all(self) -> None:
        """Continue all stopped processes."""
        for process, _ in self._stopped:
            process.signal(signal.SIGCONT)
        self._stopped.clear()
