"""A process of its own that reads a topic, for tests that pause it. Tells on stdout what it does, a line each.

Arguments: bootstrap, topic, protocol, and what it does first when it wakes up from a pause: acknowledge, or plan.
"""

import sys
import time
from collections.abc import Callable

from engine.errors import LogUnavailable
from ingest.kafka.log import KafkaLog
from ingest.kafka.plans import to_metadata
from ingest.log import Plan, Record, ranges_of
from tests.topics import Topic, read

PAUSE_SECONDS = 3


def main(bootstrap: str, name: str, protocol: str, late: str) -> None:
    log = KafkaLog(Topic(bootstrap, 3, name).settings(protocol))
    plan = log.plan(ranges_of(read(log, 6)), 5000)
    assert plan is not None
    say(f"planned {to_metadata(plan)}")
    [record] = some(log)
    tell_and_wait_until_paused([record])
    if late == "acknowledge":
        stubbornly(lambda: log.acknowledge(plan))
        say("acknowledged")
    else:
        planned: list[Plan | None] = []
        stubbornly(lambda: planned.append(log.plan(ranges_of([record]), 7000)))
        say(f"planned {planned[0]}")
    say(offsets(some(log)))


def some(log: KafkaLog) -> list[Record]:
    records: list[Record] = []
    while not records:
        records = log.read(10, 1000, 0.5)
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
