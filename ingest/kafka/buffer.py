"""What was read from a topic and is not planned yet, in the order it came.

Limits: as large as one batch and what librdkafka hands over at once; see ingest/kafka/log.py.
"""

from collections import Counter
from collections.abc import Callable

from ingest.event_log import Record


class RecordBuffer:
    """Records by order of arrival. Not thread-safe."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Hold one more."""
        self._records.append(record)
        self.bytes += _size(record)

    def let_go(self, done: Callable[[Record], bool]) -> None:
        """Hold no longer what is `done`."""
        self._records = [record for record in self._records if not done(record)]
        self.bytes = sum(map(_size, self._records))

    def firsts(self) -> dict[int, int]:
        """Return where what is held of each partition begins."""
        firsts: dict[int, int] = {}
        for record in self._records:
            firsts.setdefault(record.partition, record.offset - record.lost_before)
        return firsts

    def counts(self) -> Counter[int]:
        """Return how many records of each partition are held."""
        return Counter(record.partition for record in self._records)

    def batch(self, max_records: int, max_bytes: int, max_partitions: int) -> list[Record]:
        """Return the oldest, in the order of a block; at least one, however large."""
        size, partitions = 0, set[int]()
        chosen = 0
        for record in self._records:
            size += _size(record)
            partitions.add(record.partition)
            if chosen and (chosen == max_records or size > max_bytes or len(partitions) > max_partitions):
                break
            chosen += 1
        return sorted(self._records[:chosen])


def _size(record: Record) -> int:
    """Return how many bytes a record is: in binary mode the headers are most of it."""
    size = len(record.value or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else size
