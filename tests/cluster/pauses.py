"""How long partitions pause while the members of the group change: the time in which one of them commits nothing new.

Owns: `Pauses`, which looks at the committed offsets several times a second. Usage is late by about so much meanwhile.
Limits: the load must send to all partitions, all the time. Times in which the broker does not answer are not pauses.
"""

import threading
import time

from confluent_kafka import KafkaException

from tests.chaos.topic import Topic

_PERIOD_SECONDS = 0.25


class Pauses:
    """Watches a topic from `start` until `finish`."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._commits: dict[int, tuple[int, float]] = {}  # the offset of a partition, and when it came
        self._longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()

    def longest(self) -> float:
        """Return the longest pause in seconds, among those that went on since the last call."""
        now = time.monotonic()
        longest, self._longest = self._longest, 0.0
        return max([longest, *(now - since for _, since in list(self._commits.values()))])

    def _watch(self) -> None:
        while not self._stop.wait(_PERIOD_SECONDS):
            try:
                found = self._topic.commits()
            except KafkaException:
                continue
            now = time.monotonic()
            for partition, (offset, _) in found.items():
                before, since = self._commits.get(partition, (-1, now))
                if offset != before:
                    self._longest = max(self._longest, now - since)
                    self._commits[partition] = offset, now
