"""A process of its own that reads a topic, for tests that pause or weigh it. Tells on stdout what it does, a line each.

Arguments: bootstrap, topic, partitions, protocol, and what is wanted: `acknowledge` or `plan` when it wakes up from a
pause; `idle`: read one record, then none for some seconds, and tell by how many MiB the process has grown at most.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import LogUnavailable
from ingest.event_log import Plan, Record, ranges_of
from ingest.kafka.log import KafkaLog
from ingest.kafka.plans import to_metadata
from tests.harness.topics import Topic, read

PAUSE_SECONDS = 3
IDLE_SECONDS = 6


def main(bootstrap: str, name: str, partitions: str, protocol: str, wanted: str) -> None:
    before = resident_mib()
    log = KafkaLog(Topic(bootstrap, int(partitions), name).settings(protocol))
    if wanted == "idle":
        some(log, 1)
        say(f"grew {max(resident_mib() for _ in seconds(IDLE_SECONDS)) - before}")
        return
    plan = log.plan(ranges_of(read(log, 6)), 5000)
    assert plan is not None
    say(f"planned {to_metadata(plan)}")
    [record] = some(log)
    tell_and_wait_until_paused([record])
    if wanted == "acknowledge":
        stubbornly(lambda: log.acknowledge(plan))
        say("acknowledged")
    else:
        planned: list[Plan | None] = []
        stubbornly(lambda: planned.append(log.plan(ranges_of([record]), 7000)))
        say(f"planned {planned[0]}")
    say(offsets(some(log)))


def resident_mib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


def seconds(count: int) -> Iterator[None]:
    for _ in range(10 * count):
        time.sleep(0.1)
        yield


def some(log: KafkaLog, count: int = 10) -> list[Record]:
    records: list[Record] = []
    while not records:
        records = log.read(count, 1000, 0.5)
    return records


def offsets(records: list[Record]) -> str:
    return "read " + " ".join(f"{record.partition}:{record.offset}" for record in records)


def tell_and_wait_until_paused(records: list[Record]) -> None:
    """Whoever is told may pause this process at once."""
    last = time.monotonic()
    say(offsets(records))
    while time.monotonic() - last < PAUSE_SECONDS:
        last = time.monotonic()
        time.sleep(0.01)


def stubbornly(attempt: Callable[[], None]) -> None:
    """Try until it is answered, without a pause: before the log hears that it was given up for dead."""
    while True:
        try:
            return attempt()
        except LogUnavailable:
            pass


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
