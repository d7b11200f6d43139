"""The memory of a process with a long backlog, compared with one that has almost none.

One topic holds the requested number of events (for 10 million: `python -m benchmarks backlog --events 10000000`), the
other one ten batches. A separate process for each topic stores the same number of batches.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks import world
from benchmarks.kafka import fill_topic
from engine.config.kafka_settings import KafkaSettings
from engine.config.settings import IngestSettings
from ingest.consumer import Consumer
from ingest.kafka.log import KafkaLog
from tests.harness.chosen_broker import choose_broker

PARTITIONS = 12
BATCH_ROWS = 100_000
BATCHES = 10
_PAGE = 4096


def run(events: int) -> list[str]:
    """Measure both processes and return the lines to print."""
    with world.scratch() as directory, choose_broker(directory / "kafka") as broker:
        peaks = []
        for name, count in (("short", BATCHES * BATCH_ROWS), ("long", max(events, 2 * BATCHES * BATCH_ROWS))):
            broker.create_topic(name, PARTITIONS)
            fill_topic(broker, _values(count), name)
            command = [sys.executable, "-m", "benchmarks.backlog", broker.bootstrap, name]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks.append(json.loads(answer.stdout))
    (short, _), (long, left) = peaks
    return [
        f"{long / short:.2f} times the memory of a backlog of {BATCHES * BATCH_ROWS:,}; {left:,} events still waited",
        f"at most {long >> 20} MiB resident, with chDB and five meters; {short >> 20} MiB without a backlog",
    ]


def _values(count: int) -> Iterator[bytes]:
    """Yield events one by one: a list of ten million would need too much memory."""
    for index in range(count):
        yield (
            f'{{"specversion":"1.0","id":"{index}","source":"bench","type":"prompt","subject":"customer-{index % 100}",'
            f'"data":{{"tokens":{index % 997},"ms":{index % 1009}.25,"model":"m{index % 5}","kind":"k{index % 2}"}}}}'
        ).encode()


def _peak(bootstrap: str, topic: str) -> tuple[int, int]:
    """Store BATCHES batches. Return the peak of the resident bytes, and how many records still wait."""
    with world.store() as (store, _):
        world.ready_meters(store)
        log = KafkaLog(KafkaSettings(brokers=bootstrap, topic=topic, group=topic))
        consumer = Consumer(log, store, IngestSettings(batch_rows=BATCH_ROWS), threading.Event())
        consumer.start()
        most = stored = 0
        while stored < BATCHES:
            stored += consumer.step()
            most = max(most, int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE)
        left = int(log.lag().records)
        log.close()
    return most, left


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_peak(*sys.argv[1:])))
