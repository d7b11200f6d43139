"""Records that were read from a topic and are not planned yet, in the order in which they came.

Limits: at most one batch and what librdkafka hands over at once; see ingest/kafka/log.py.
"""

from collections import Counter
from collections.abc import Callable

from ingest.event_log import Record


class RecordBuffer:
    """Records in order of arrival. Not thread-safe."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Add one record at the end."""
        self._records.append(record)
        self.bytes += _size(record)

    def discard(self, done: Callable[[Record], bool]) -> None:
        """Remove the records for which `done` is true."""
        self._records = [record for record in self._records if not done(record)]
        self.bytes = sum(map(_size, self._records))

    def first_offsets(self) -> dict[int, int]:
        """Return for each partition the first offset that is held, gaps included."""
        first_offsets: dict[int, int] = {}
        for record in self._records:
            first_offsets.setdefault(record.partition, record.offset - record.lost_before)
        return first_offsets

    def counts(self) -> Counter[int]:
        """Return how many records of each partition are held."""
        return Counter(record.partition for record in self._records)

    def batch(self, max_records: int, max_bytes: int, max_partitions: int) -> list[Record]:
        """Return the oldest records, sorted as in a block: within the limits, but at least one, however large."""
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
    """Return the size of a record in bytes: value and headers. In binary mode the headers are the larger part."""
    size = len(record.value or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else size
