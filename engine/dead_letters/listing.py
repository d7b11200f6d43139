"""The listing of dead letters in pages, the latest arrival first.

Owns: which dead letters a page contains, and the JSON of one. Source: docs/contract.md 3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.instants import Instant, timestamp_text
from engine.listings.log_position import LogPosition
from engine.listings.time_range import bound_ms, check_order
from engine.store import sql
from engine.store.clickhouse import Store


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters to select. The range is half-open and bounds the arrival.

    None does not filter, and neither do empty `positions`. `reason`: a part of the reason. `replayed`: whether the
    letter was replayed.
    """

    from_: Instant | None = None
    to: Instant | None = None
    partition: int | None = None
    offset: int | None = None
    reason: str | None = None
    replayed: bool | None = None
    positions: Sequence[LogPosition] = ()

    def __post_init__(self) -> None:
        """Check the range. Raises: InvalidRequest: `from_` is not before `to`."""
        check_order("from", self.from_, "to", self.to)

    def statement(self, name: str) -> str:
        """Return a SQL statement with this filter. The caller binds `parameters`."""
        return sql.statement(name, filter=sql.statement("events/dead_letter_filter"))

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters that the filter binds."""
        return {
            "from_ms": bound_ms(self.from_),
            "to_ms": bound_ms(self.to),
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "replayed": self.replayed,
            "places": [tuple(position) for position in self.positions],
        }


def list_dead_letters(
    store: Store, limit: int, before: LogPosition | None = None, wanted: DeadLetterFilter | None = None
) -> list[dict[str, object]]:
    """Return a page of dead letters, the latest arrival first.

    Args: before: `arrivedAt`, `partition` and `offset` of the last letter of the previous page. wanted: None selects
        all.
    Returns: objects with the members `arrivedAt storedAt partition offset reason value`. `valueEncoding` is "base64" if
        the value is not UTF-8; `headers` is present if the record had some; `replayedAt` if it was replayed.
    """
    filter_ = wanted or DeadLetterFilter()
    after = before or (None, None, None)
    rows = store.rows(
        filter_.statement("events/dead_letters"),
        **filter_.parameters,
        after_ms=after[0],
        after_partition=after[1],
        after_offset=after[2],
        limit=limit,
    )
    return [_dead_letter(row) for row in rows]


def _dead_letter(row: Sequence[Any]) -> dict[str, object]:
    arrived_ms, stored_ms, partition, offset, reason, is_text, value, headers, replayed_ms = row
    return {
        "arrivedAt": timestamp_text(arrived_ms),
        "storedAt": timestamp_text(stored_ms),
        "partition": partition,
        "offset": offset,
        "reason": reason,
        "value": value,
        **({} if is_text else {"valueEncoding": "base64"}),
        **({"headers": orjson.loads(headers)} if headers else {}),
        **({} if replayed_ms is None else {"replayedAt": timestamp_text(replayed_ms)}),
    }
