"""Duplicates whose content was not that of the stored event, as they are listed: the last arrived first, page by page.

Owns: which of them a page holds, and the JSON of one. Ingest keeps them (ingest/differing.py) for 30 days.
Source: docs/contract.md 3.8.
"""

from dataclasses import dataclass

from engine.errors import InvalidRequest
from engine.events.listing import listed_event
from engine.instants import Instant
from engine.log_position import LogPosition
from engine.store import sql
from engine.store.clickhouse import Store


@dataclass(frozen=True, slots=True)
class DuplicateFilter:
    """Which duplicates are meant. The range is half-open and of arrivals; None does not filter.

    `id_contains`: a part of the id. `after`: the end of the page before. `limit`: duplicates at most.
    """

    from_: Instant | None = None
    to: Instant | None = None
    id_contains: str | None = None
    subject: str | None = None
    after: LogPosition | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        """Raises: InvalidRequest: the range ends before it begins."""
        if self.from_ is not None and self.to is not None and self.from_.nanos >= self.to.nanos:
            raise InvalidRequest("from must be before to")


@dataclass(frozen=True, slots=True)
class ListedDuplicate:
    """A duplicate as JSON, and where it stands among them."""

    json: bytes
    position: LogPosition


def list_duplicates(store: Store, wanted: DuplicateFilter) -> list[ListedDuplicate]:
    """Return a page of duplicates: members `event ingestedAt droppedAt partition offset`."""
    after = wanted.after or (None, None, None)
    rows = store.rows(
        sql.statement("events/differing_duplicates"),
        from_ms=None if wanted.from_ is None else wanted.from_.ceil_milliseconds,
        to_ms=None if wanted.to is None else wanted.to.ceil_milliseconds,
        id_contains=wanted.id_contains,
        subject=wanted.subject,
        after_ms=after[0],
        after_partition=after[1],
        after_offset=after[2],
        limit=wanted.limit,
    )
    found = []
    for row in rows:
        event = listed_event(row, None)
        position = LogPosition(event.ingested_ms, event.position.partition, event.position.offset)
        ingested, dropped = (Instant(at_ms * 1_000_000).text.encode() for at_ms in (event.ingested_ms, event.stored_ms))
        text = b'{"event":%b,"ingestedAt":"%b","droppedAt":"%b","partition":%d,"offset":%d}'
        found.append(ListedDuplicate(text % (event.event, ingested, dropped, *position[1:]), position))
    return found
