"""A separate process that reads a topic, for tests that pause it, break it or measure its memory.

Each step is a line on stdout.

Arguments: bootstrap, topic, partitions, protocol, and the task. `acknowledge` or `plan`: what it does after a pause.
`idle`: it reads one record, then none for read_some seconds, and reports the most MiB by which the process has grown.
`fail`: its client fails for good while it reads nothing, and it reports what ended the process.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from engine.errors import LogUnavailable
from ingest.event_log import Plan, Record, ranges_of
from ingest.kafka.log import KafkaLog
from ingest.kafka.plans import to_metadata
from ingest.workers import Workers
from tests.harness.librdkafka import fail_for_good
from tests.harness.topics import Topic, read, wait_for

PAUSE_SECONDS = 3
IDLE_SECONDS = 6


def main(bootstrap: str, name: str, partitions: str, protocol: str, task: str) -> None:
    before = resident_mib()
    log = KafkaLog(Topic(bootstrap, int(partitions), name).settings(protocol))
    if task == "fail":
        fail(log)
    if task == "idle":
        read_some(log, 1)
        report(f"grew {max(resident_mib() for _ in seconds(IDLE_SECONDS)) - before}")
        return
    plan = log.plan(ranges_of(read(log, 6)), 5000)
    assert plan is not None
    report(f"planned {to_metadata(plan)}")
    [record] = read_some(log)
    report_and_wait_until_paused([record])
    if task == "acknowledge":
        retry_until_done(lambda: log.acknowledge(plan))
        report("acknowledged")
    else:
        planned: list[Plan | None] = []
        retry_until_done(lambda: planned.append(log.plan(ranges_of([record]), 7000)))
        report(f"planned {planned[0]}")
    report(offsets_text(read_some(log)))


def fail(log: KafkaLog) -> NoReturn:
    workers = Workers()
    wait_for(lambda: log.pending() == [] and log.monitor.is_member)
    workers.watch([log.thread])
    fail_for_good(log._member._consumer, 82)
    wait_for(workers.stop.is_set)
    report(f"ended by {workers.failed_thread}: {type(workers.failure).__name__}")
    os._exit(0)  # closing the client would never end


def resident_mib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


def seconds(count: int) -> Iterator[None]:
    for _ in range(10 * count):
        time.sleep(0.1)
        yield


def read_some(log: KafkaLog, count: int = 10) -> list[Record]:
    records: list[Record] = []
    while not records:
        records = log.read(count, 1000, 0.5)
    return records


def offsets_text(records: list[Record]) -> str:
    return "read " + " ".join(f"{record.partition}:{record.offset}" for record in records)


def report_and_wait_until_paused(records: list[Record]) -> None:
    """Report the records, then wait until this process was paused. The test may pause it at once."""
    last = time.monotonic()
    report(offsets_text(records))
    while time.monotonic() - last < PAUSE_SECONDS:
        last = time.monotonic()
        time.sleep(0.01)


def retry_until_done(attempt: Callable[[], None]) -> None:
    """Retry without a pause until it succeeds: before the log learns that the group has removed this member."""
    while True:
        try:
            return attempt()
        except LogUnavailable:
            pass


def report(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
