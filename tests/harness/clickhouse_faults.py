"""The faults that a test can arm in its ClickHouse server, and which statement each fault hits.

Owns: `Fault`, `Faults`. A fault is armed for some seconds, for the next statements, or until it is disarmed. The first
armed fault that applies to a statement hits it. tests/harness/clickhouse_front.py carries it out.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Literal

# refuse: the port is closed, and a connection that is still open is reset.
# stall: the statement waits until the fault is over. Then it is run and answered.
# reset: the connection is reset, and the statement is not run.
# lose-answer: the statement is run, then the connection is reset.
# error: the answer is the error `code`, and the statement is not run.
FaultKind = Literal["refuse", "stall", "reset", "lose-answer", "error"]


@dataclass(slots=True)
class Fault:
    """A fault. It hits a statement with `probability`, and ends after `seconds` or `statements` (None: if disarmed)."""

    kind: FaultKind
    seconds: float | None = None
    statements: int | None = None
    inserts_only: bool = False
    probability: float = 1.0
    code: int = 241
    seed: int = 0
    _until: float = field(init=False)
    _random: Random = field(init=False)
    _over: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + (threading.TIMEOUT_MAX if self.seconds is None else self.seconds)
        self._random = Random(self.seed)  # noqa: S311 - reproducible, not secret

    @property
    def over(self) -> bool:
        return self._over.is_set() or time.monotonic() >= self._until

    def end(self) -> None:
        self._over.set()

    def wait(self) -> None:
        """Return when the fault is over."""
        self._over.wait(max(0.0, self._until - time.monotonic()))

    def strikes(self, is_insert: bool) -> bool:
        """Return whether the fault hits a statement, and count that down in `statements`."""
        if self.over or self.statements == 0 or (self.inserts_only and not is_insert):
            return False
        if self._random.random() >= self.probability:
            return False
        if self.statements is not None:
            self.statements -= 1
        return True


class Faults:
    """The armed faults of one process, in the order in which they were armed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Fault] = []
        self._struck: Counter[FaultKind] = Counter()

    def arm(self, fault: Fault) -> None:
        with self._lock:
            self._armed.append(fault)

    def disarm(self) -> None:
        """End all faults: stalled statements go on."""
        with self._lock:
            for fault in self._armed:
                fault.end()
            self._armed.clear()

    def is_armed(self, kind: FaultKind) -> bool:
        with self._lock:
            return any(fault.kind == kind and not fault.over for fault in self._armed)

    def draw(self, is_insert: bool) -> Fault | None:
        """Return the fault that hits a statement, or None."""
        with self._lock:
            for fault in self._armed:
                if fault.strikes(is_insert):
                    self._struck[fault.kind] += 1
                    return fault
        return None

    def struck(self) -> dict[FaultKind, int]:
        """Return how many statements each kind of fault has hit since the process started."""
        with self._lock:
            return dict(self._struck)
