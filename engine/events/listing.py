"""Events and dead letters as they are listed: newest first, a page at a time.

Owns: which of them a page holds, and the JSON of a listed event. `data` comes out byte for byte as it was sent, so
events are put together as text, never parsed. A listing is bounded in time, so that months outside are not read.
Source: docs/contract.md 3.2, 3.3, D.13; CloudEvents 1.0 JSON format.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

import orjson

from engine.config.settings import QuerySettings
from engine.errors import InvalidRequest
from engine.events.verdicts import Place, validation_errors
from engine.filters import Allowance, Bindings, Filter, condition, text_filter, time_filter
from engine.instants import BEGINNING, DAY_SECONDS, END, Clock, Instant, milliseconds, timestamp_text, utc_now
from engine.log_position import LogPosition
from engine.meters.registry import MeterRegistry
from engine.store import sql
from engine.store.clickhouse import Store
from engine.time_range import bound_ms, check_order, clamped

# What a search of events may filter: the API's name, its column, and how its filter is read.
SEARCHED: Mapping[str, tuple[str, Callable[[object, Allowance, int], Filter | None]]] = {
    "id": ("id", text_filter),
    "source": ("source", text_filter),
    "subject": ("subject", text_filter),
    "type": ("type", text_filter),
    "time": ("time", time_filter),
    "ingestedAt": ("arrived_at", time_filter),
}
_SEARCH_DEPTH = 1


def search_filters(body: Mapping[str, object]) -> dict[str, Filter]:
    """Return the filters a search names, by column. Raises: InvalidRequest: names the member at fault."""
    found, allowance = {}, Allowance()
    folded = {name.lower(): name for name in SEARCHED}
    for name, given in body.items():
        if name not in SEARCHED:
            meant = f', did you mean "{folded[name.lower()]}"?' if name.lower() in folded else ""
            raise InvalidRequest(f'filter: "{name}" is unknown{meant}')
        if given is None:
            continue
        column, read = SEARCHED[name]
        try:
            filter_ = read(given, allowance, _SEARCH_DEPTH)
        except InvalidRequest as error:
            raise InvalidRequest(f"filter: {name}: {error}") from None
        if filter_ is not None:
            found[column] = filter_
    return found


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list. Ranges are half-open; None does not filter.

    `from_`: None is as far back as events are listed. `id_contains`: a part of the id. `after`: the end of the page
    before. `limit`: events at most.
    """

    id_contains: str | None = None
    subject: str | None = None
    from_: Instant | None = None
    to: Instant | None = None
    ingested_from: Instant | None = None
    ingested_to: Instant | None = None
    after: LogPosition | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class EventSearch:
    """Which events to search for: those that pass the filter of each column of SEARCHED named."""

    filters: Mapping[str, Filter]
    after: LogPosition | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event in a listing. `event`: a CloudEvent as JSON. Times in Unix milliseconds.

    `validation_error`: why meters of its type did not count it, a line each; None if all did.
    """

    event: bytes
    position: LogPosition
    ingested_ms: int
    stored_ms: int
    validation_error: str | None


def list_events(
    store: Store, registry: MeterRegistry, filter_: EventFilter, settings: QuerySettings, clock: Clock = utc_now
) -> list[ListedEvent]:
    """Return a page of events, the latest `time` first, of one time the last in the log first.

    Raises: InvalidRequest: `from` is further back than events are listed, or not before `to`.
    """
    return _explained(store, registry, _rows(store, filter_, *_range(filter_, settings, clock), Bindings("none")))


def search_events(
    store: Store, registry: MeterRegistry, search: EventSearch, settings: QuerySettings, clock: Clock = utc_now
) -> list[ListedEvent]:
    """Return a page of events that pass filters, in the order of `list_events`, however old they are.

    Most pages lie within the days looked at first; months before them are read if they do not fill one.
    """
    given = Bindings("filter")
    conditions = " AND ".join(["true", *(condition(found, name, given) for name, found in search.filters.items())])
    page = EventFilter(after=search.after, limit=search.limit)
    latest_ms = search.after.at_ms if search.after else milliseconds(clock())
    recent_ms = max(BEGINNING * 1000, latest_ms - settings.events_days * DAY_SECONDS * 1000)
    rows = _rows(store, page, recent_ms, END * 1000, given, conditions)
    if len(rows) < search.limit and recent_ms > BEGINNING * 1000:
        rows = _rows(store, page, BEGINNING * 1000, END * 1000, given, conditions)
    return _explained(store, registry, rows)


def _rows(
    store: Store, filter_: EventFilter, from_ms: int, to_ms: int, given: Bindings, conditions: str = "true"
) -> Sequence[Sequence[Any]]:
    after = filter_.after or (None, None, None)
    return store.rows(
        sql.statement("events/list", filters=conditions),
        from_ms=from_ms,
        to_ms=to_ms,
        id_contains=filter_.id_contains,
        subject=filter_.subject,
        ingested_from_ms=bound_ms(filter_.ingested_from),
        ingested_to_ms=bound_ms(filter_.ingested_to),
        after_ms=after[0],
        after_partition=after[1],
        after_offset=after[2],
        limit=filter_.limit,
        **given.values,
    )


def _explained(store: Store, registry: MeterRegistry, rows: Sequence[Sequence[Any]]) -> list[ListedEvent]:
    errors = validation_errors(store, registry, [Place(*row[:5]) for row in rows])
    return [listed_event(row, errors.get(Place(*row[:5]))) for row in rows]


def to_json(listed: ListedEvent) -> bytes:
    """Return a listed event as the JSON object the API answers."""
    error = b"" if listed.validation_error is None else b',"validationError":' + orjson.dumps(listed.validation_error)
    return b'{"event":%b%b,"ingestedAt":"%b","storedAt":"%b"}' % (
        listed.event,
        error,
        timestamp_text(listed.ingested_ms).encode(),
        timestamp_text(listed.stored_ms).encode(),
    )


def events_today(store: Store, most: int, clock: Clock = utc_now) -> list[tuple[str, int]]:
    """Return how many events each subject has whose `time` is of today (UTC), by subject.

    Of more subjects than `most` those with the most events are named; all others are counted together, under "".
    """
    midnight = clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = store.rows(sql.statement("events/today"), from_ms=milliseconds(midnight), most=most)
    return [(str(subject), int(count)) for subject, count in rows]


def _range(filter_: EventFilter, settings: QuerySettings, clock: Clock) -> tuple[int, int]:
    earliest_ms = milliseconds(clock() - timedelta(days=settings.events_days))
    from_ms = earliest_ms if filter_.from_ is None else filter_.from_.ceil_milliseconds
    if from_ms < earliest_ms:
        raise InvalidRequest(f"from date is too old: events are listed {settings.events_days} days back")
    check_order("from", filter_.from_, "to", filter_.to)
    check_order("ingestedAtFrom", filter_.ingested_from, "ingestedAtTo", filter_.ingested_to)
    to_ms = END * 1000 if filter_.to is None else filter_.to.ceil_milliseconds
    return clamped(from_ms), clamped(to_ms)


def listed_event(row: Sequence[Any], error: str | None) -> ListedEvent:
    """Return an event of a row of events/list. Args: error: why meters did not count it."""
    type_, subject, time_ms, partition, offset, id_, source, data, extensions, arrived_ms, stored_ms = row
    attributes = {"id": id_, "source": source, "type": type_, "subject": subject, "time": timestamp_text(time_ms)}
    event = orjson.dumps({**attributes, "specversion": "1.0"})[:-1]
    if extensions:
        event += b"," + extensions.encode()[1:-1]
    if data:
        event += b',"data":' + data.encode()
    return ListedEvent(event + b"}", LogPosition(time_ms, partition, offset), arrived_ms, stored_ms, error)
