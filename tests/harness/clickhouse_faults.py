"""How the tests' ClickHouse misbehaves when it is told to: what faults there are, and which statement one strikes.

Owns: `Fault`, `Faults`. A fault is armed for some seconds, for the next statements, or until it is disarmed; the first
armed one that applies strikes. tests/harness/clickhouse_front.py carries it out.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Literal

# refuse: nobody listens; a connection still open from before is reset.
# stall: nothing is answered, nor run, until the fault is over; then it is.
# reset: the connection is reset, the statement is not run.
# lose-answer: the statement is run, then the connection is reset.
# error: answered with `code`, the statement is not run.
FaultKind = Literal["refuse", "stall", "reset", "lose-answer", "error"]


@dataclass(slots=True)
class Fault:
    """`seconds` from now and `statements` at most, None: until disarmed; `probability` of those that it applies to."""

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
        self._random = Random(self.seed)  # noqa: S311 - a test's dice

    @property
    def over(self) -> bool:
        return self._over.is_set() or time.monotonic() >= self._until

    def end(self) -> None:
        self._over.set()

    def wait(self) -> None:
        """Return when the fault is over."""
        self._over.wait(max(0.0, self._until - time.monotonic()))

    def strikes(self, is_insert: bool) -> bool:
        """Whether a statement is struck; one the less is to come then."""
        if self.over or self.statements == 0 or (self.inserts_only and not is_insert):
            return False
        if self._random.random() >= self.probability:
            return False
        if self.statements is not None:
            self.statements -= 1
        return True


class Faults:
    """The armed faults of one process, in the order they were armed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Fault] = []
        self._struck: Counter[FaultKind] = Counter()

    def arm(self, fault: Fault) -> None:
        with self._lock:
            self._armed.append(fault)

    def disarm(self) -> None:
        """End every fault; what is stalled goes on."""
        with self._lock:
            for fault in self._armed:
                fault.end()
            self._armed.clear()

    def stands(self, kind: FaultKind) -> bool:
        with self._lock:
            return any(fault.kind == kind and not fault.over for fault in self._armed)

    def draw(self, is_insert: bool) -> Fault | None:
        """Return the fault that strikes a statement."""
        with self._lock:
            for fault in self._armed:
                if fault.strikes(is_insert):
                    self._struck[fault.kind] += 1
                    return fault
        return None

    def struck(self) -> dict[FaultKind, int]:
        """Return how many statements each kind has struck since the process started."""
        with self._lock:
            return dict(self._struck)
