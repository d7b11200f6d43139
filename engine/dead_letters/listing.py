"""Dead letters as they are listed: the last arrived first, a page at a time.

Owns: which of them a page holds, and the JSON of one. Source: docs/contract.md 3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.instants import Instant, timestamp_text
from engine.log_position import LogPosition
from engine.store import sql
from engine.store.clickhouse import Store
from engine.time_range import bound_ms, check_order


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant. The range is half-open and of arrivals; None does not filter, nor do no places.

    `reason`: a part of the reason. `replayed`: whether it was replayed.
    """

    from_: Instant | None = None
    to: Instant | None = None
    partition: int | None = None
    offset: int | None = None
    reason: str | None = None
    replayed: bool | None = None
    places: Sequence[LogPosition] = ()

    def __post_init__(self) -> None:
        """Raises: InvalidRequest: the range ends before it begins."""
        check_order("from", self.from_, "to", self.to)

    def statement(self, name: str) -> str:
        """Return a statement about the dead letters that are meant; `parameters` are to be bound."""
        return sql.statement(name, filter=sql.statement("events/dead_letter_filter"))

    @property
    def parameters(self) -> dict[str, object]:
        """What the filter binds."""
        return {
            "from_ms": bound_ms(self.from_),
            "to_ms": bound_ms(self.to),
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "replayed": self.replayed,
            "places": [tuple(place) for place in self.places],
        }


def list_dead_letters(
    store: Store, limit: int, before: LogPosition | None = None, wanted: DeadLetterFilter | None = None
) -> list[dict[str, object]]:
    """Return records that could not become an event, the last arrived first.

    Args: before: `arrivedAt`, `partition` and `offset` of the last one of the page before. wanted: None: all.
    Returns: members `arrivedAt storedAt partition offset reason value`; `valueEncoding` "base64" where the value is
        not UTF-8, `headers` where the record had some, `replayedAt` where it was replayed.
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
