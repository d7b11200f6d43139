"""Seeded events that ClickHouse generates itself: a hundred million take minutes, and every run has the same ones.

1,000 subjects, of which one has 30 percent; 30 days; group-bys of ten models and four kinds; one percent duplicates;
one percent that are a day late.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.store.clickhouse import Store

FIRST_MS = 1_764_547_200_000  # 2025-12-01T00:00:00Z
DAYS = 30
HEAVY, LIGHT = "customer-0", "customer-5"
BLOCK = 500_000
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Data:
    """`count` events in the order in which they arrive. `shape`: "live": a block spans its share of the 30 days;
    "backfill": a block spans all of them.
    """

    count: int
    shape: str = "live"

    def selects(self, duplicates: bool, block: int = BLOCK) -> Iterator[str]:
        """Yield one SELECT of the columns of `events` for each block. Args: duplicates: whether it has them, too."""
        for first in range(0, self.count, block):
            yield self._select(first, min(block, self.count - first), duplicates)

    def _select(self, first: int, count: int, duplicates: bool) -> str:
        place = "event" if self.shape == "live" else f"(event - {first}) * {self.count // count}"
        # A number that ends in 07 is a duplicate of the event before it.
        numbers = f"SELECT number - (number % 100 = 7) AS event FROM numbers({first}, {count})"
        numbers += "" if duplicates else " WHERE number % 100 != 7"
        return f"""SELECT toString(event) AS id, 'bench' AS source, 'prompt' AS type,
    if(event % 10 < 3, '{HEAVY}', concat('customer-', toString(1 + intHash64(event) % 999))) AS subject,
    fromUnixTimestamp64Milli(toInt64({FIRST_MS} + intDiv({place} * {DAYS * _DAY_MS}, {self.count})
        - if(event % 100 = 3 AND {place} * 15 > {self.count}, {_DAY_MS}, 0)), 'UTC') AS time,
    concat('{{"tokens":', toString(event % 997), ',"ms":', toString(event % 1009), '.25,"model":"m',
        toString(intHash64(event + 7) % 10), '","kind":"k', toString(intHash64(event + 3) % 4), '"}}') AS data,
    '' AS extensions, now64(3) AS arrived_at, now64(3) + 1 AS stored_at, toInt32(0) AS log_partition,
    toInt64(event) AS log_offset, sipHash128(event) AS key
FROM ({numbers})"""


def store_events(store: Store, data: Data, label: str, block: int = BLOCK) -> None:
    """Store the events in `events` and in all rollups, each event once. Args: label: begins the blocks' tokens."""
    for number, select in enumerate(data.selects(duplicates=False, block=block)):
        store.command(f"INSERT INTO events {select} SETTINGS {store.fill_settings(f'{label}-{number}')}")
