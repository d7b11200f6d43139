"""A process that reads a topic, and that a test pauses for longer than its session lasts."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.topics import Topic


class Zombie:
    """A process of `tests/harness/kafka_child.py` that reads a log. A test may pause it."""

    def __init__(self, topic: Topic, protocol: str, late: str) -> None:
        command = [sys.executable, "-m", "tests.harness.kafka_child", topic.bootstrap, topic.name, "3", protocol, late]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def child(topic: Topic, protocol: str, late: str) -> Iterator[Zombie]:
    zombie = Zombie(topic, protocol, late)
    try:
        yield zombie
    finally:
        zombie.end()
