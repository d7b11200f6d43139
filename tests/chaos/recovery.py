"""Waiting in a scenario: until a condition holds, and after a fault until all partitions continue.

Limits: every wait has a time limit.
"""

import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaException

from tests.chaos.topic import Topic

WAIT_SECONDS = 180  # after which what is awaited will not happen, however busy the machine is
_POLL_SECONDS = 0.2  # each poll asks the broker once for each partition


class Recovery:
    """Measures, by the commits of the group, how long after a fault each partition has stored something newer.

    It does not wait for the whole backlog. `is_flowing`: whether new records come to all partitions.
    """

    def __init__(self, topic: Topic, is_flowing: Callable[[], bool]) -> None:
        self.seconds: list[float] = []
        self._topic = topic
        self._is_flowing = is_flowing
        self._open: list[tuple[float, dict[int, int]]] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recovery", daemon=True)
        self._thread.start()

    def fault_ended(self) -> None:
        """Start a measurement: a fault has ended, or a process was just killed."""
        self._open.append((time.monotonic(), {}))

    def _watch(self) -> None:
        while not self._closing.wait(_POLL_SECONDS):
            if not self._open:
                continue
            try:
                commits = {partition: max(0, offset) for partition, (offset, _) in self._topic.commits().items()}
                ends = self._topic.ends()
            except KafkaException:
                continue
            for entry in list(self._open):
                began, before = entry
                if not before:
                    before |= commits
                elif all(
                    offset > before.get(partition, 0) or (offset == ends.get(partition) and not self._is_flowing())
                    for partition, offset in commits.items()
                ):
                    self.seconds.append(time.monotonic() - began)
                    self._open.remove(entry)

    def wait(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the recovery from all faults so far is complete. Raises: AssertionError: it takes too long."""
        wait_until(lambda: not self._open, "the recovery from a fault was not complete", seconds)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()


def wait_until(
    holds: Callable[[], bool],
    otherwise: str,
    seconds: float = WAIT_SECONDS,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Wait until `holds()`. Args: progress: the time limit starts again when its result changes.

    Raises: AssertionError: it did not become true in time. The message begins with `otherwise`.
    """
    deadline, seen = time.monotonic() + seconds, progress()
    while not holds():
        if time.monotonic() >= deadline:
            last, seen = seen, progress()
            assert seen != last, f"{otherwise} within {seconds} s"
            deadline = time.monotonic() + seconds
        time.sleep(_POLL_SECONDS)
