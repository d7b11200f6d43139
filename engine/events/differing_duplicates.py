"""The listing of duplicates whose content differs from the stored event, in pages, the latest arrival first.

Owns: which duplicates a page contains, and the JSON of one. Ingest keeps them for 30 days
(ingest/differing_duplicates.py).
Source: docs/contract.md 3.8.
"""

from dataclasses import dataclass

from engine.errors import InvalidRequest
from engine.events.listing import listed_event
from engine.instants import Instant
from engine.listings.log_position import LogPosition
from engine.store import sql
from engine.store.clickhouse import Store


@dataclass(frozen=True, slots=True)
class DuplicateFilter:
    """Which duplicates to list. The range is half-open and bounds the arrival; None does not filter.

    `id_contains`: a part of the id. `after`: the last position of the previous page. `limit`: the maximum number.
    """

    from_: Instant | None = None
    to: Instant | None = None
    id_contains: str | None = None
    subject: str | None = None
    after: LogPosition | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        """Check the range. Raises: InvalidRequest: `from_` is not before `to`."""
        if self.from_ is not None and self.to is not None and self.from_.nanos >= self.to.nanos:
            raise InvalidRequest("from must be before to")


@dataclass(frozen=True, slots=True)
class ListedDuplicate:
    """A duplicate as JSON, and its position in the listing."""

    json: bytes
    position: LogPosition


def list_duplicates(store: Store, filter_: DuplicateFilter) -> list[ListedDuplicate]:
    """Return a page of duplicates. Their JSON has the members `event ingestedAt droppedAt partition offset`."""
    after = filter_.after or (None, None, None)
    rows = store.rows(
        sql.statement("events/differing_duplicates"),
        from_ms=None if filter_.from_ is None else filter_.from_.ceil_milliseconds,
        to_ms=None if filter_.to is None else filter_.to.ceil_milliseconds,
        id_contains=filter_.id_contains,
        subject=filter_.subject,
        after_ms=after[0],
        after_partition=after[1],
        after_offset=after[2],
        limit=filter_.limit,
    )
    listed = []
    for row in rows:
        event = listed_event(row, None)
        position = LogPosition(event.ingested_ms, event.position.partition, event.position.offset)
        ingested, dropped = (Instant(at_ms * 1_000_000).text.encode() for at_ms in (event.ingested_ms, event.stored_ms))
        text = b'{"event":%b,"ingestedAt":"%b","droppedAt":"%b","partition":%d,"offset":%d}'
        listed.append(ListedDuplicate(text % (event.event, ingested, dropped, *position[1:]), position))
    return listed
