"""The listing of events in pages, the newest first.

Owns: which events a page contains, and the JSON of a listed event. `data` is returned byte for byte as it was sent, so
the JSON is assembled as text and never parsed. A listing has a range of time, so that months outside are not read.
Source: docs/contract.md 3.2, 3.3, D.13; CloudEvents 1.0 JSON format.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

import orjson

from engine.config.settings import QuerySettings
from engine.errors import InvalidRequest
from engine.events.uncounted_reasons import EventPosition, validation_errors
from engine.filters import Allowance, Bindings, Filter, condition, text_filter, time_filter
from engine.instants import BEGINNING, DAY_SECONDS, END, Clock, Instant, milliseconds, timestamp_text, utc_now
from engine.listings.log_position import LogPosition
from engine.listings.time_range import bound_ms, check_order, clamp_ms
from engine.meters.registry import MeterRegistry
from engine.names import correct_case
from engine.store import sql
from engine.store.clickhouse import Store

# The fields that a search of events may filter: the API's name, the column, and the function that parses the filter.
SEARCH_FIELDS: Mapping[str, tuple[str, Callable[[object, Allowance, int], Filter | None]]] = {
    "id": ("id", text_filter),
    "source": ("source", text_filter),
    "subject": ("subject", text_filter),
    "type": ("type", text_filter),
    "time": ("time", time_filter),
    "ingestedAt": ("arrived_at", time_filter),
}
_SEARCH_DEPTH = 1


def search_filters(body: Mapping[str, object]) -> dict[str, Filter]:
    """Return the filters of a search by column. Raises: InvalidRequest: the message names the invalid member."""
    filters, allowance = {}, Allowance()
    for name, value in body.items():
        if name not in SEARCH_FIELDS:
            correct = correct_case(name, SEARCH_FIELDS)
            suggestion = f', did you mean "{correct}"?' if correct else ""
            raise InvalidRequest(f'filter: "{name}" is unknown{suggestion}')
        if value is None:
            continue
        column, read = SEARCH_FIELDS[name]
        try:
            filter_ = read(value, allowance, _SEARCH_DEPTH)
        except InvalidRequest as error:
            raise InvalidRequest(f"filter: {name}: {error}") from None
        if filter_ is not None:
            filters[column] = filter_
    return filters


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list. Ranges are half-open; None does not filter.

    `from_`: None means as far back as events are listed. `id_contains`: a part of the id. `after`: the last position of
    the previous page. `limit`: the maximum number of events.
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
    """Which events to search for. `filters`: by column, the filters that an event must all pass.

    `after`: the last position of the previous page. `limit`: the maximum number of events.
    """

    filters: Mapping[str, Filter]
    after: LogPosition | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event in a listing. `event`: a CloudEvent as JSON. Times are in Unix milliseconds.

    `validation_error`: one line for each meter of its type that did not count it, with the reason. None: all did.
    """

    event: bytes
    position: LogPosition
    ingested_ms: int
    stored_ms: int
    validation_error: str | None


def list_events(
    store: Store, registry: MeterRegistry, filter_: EventFilter, settings: QuerySettings, clock: Clock = utc_now
) -> list[ListedEvent]:
    """Return a page of events, the latest `time` first. Among equal times, the last in the event log comes first.

    Raises: InvalidRequest: `from` is further back than events are listed, or a range does not begin before its end.
    """
    return _with_errors(
        store, registry, _read_rows(store, filter_, *_range(filter_, settings, clock), Bindings("none"))
    )


def search_events(
    store: Store, registry: MeterRegistry, search: EventSearch, settings: QuerySettings, clock: Clock = utc_now
) -> list[ListedEvent]:
    """Return a page of events that pass the filters, in the order of `list_events` and without a limit on their age.

    The most recent days are searched first, which is enough for most pages. If they do not fill the page, all times are
    searched.
    """
    bindings = Bindings("filter")
    conditions = " AND ".join(
        ["true", *(condition(filter_, column, bindings) for column, filter_ in search.filters.items())]
    )
    page = EventFilter(after=search.after, limit=search.limit)
    latest_ms = search.after.at_ms if search.after else milliseconds(clock())
    recent_ms = max(BEGINNING * 1000, latest_ms - settings.events_days * DAY_SECONDS * 1000)
    rows = _read_rows(store, page, recent_ms, END * 1000, bindings, conditions)
    if len(rows) < search.limit and recent_ms > BEGINNING * 1000:
        rows = _read_rows(store, page, BEGINNING * 1000, END * 1000, bindings, conditions)
    return _with_errors(store, registry, rows)


def _read_rows(
    store: Store, filter_: EventFilter, from_ms: int, to_ms: int, bindings: Bindings, conditions: str = "true"
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
        **bindings.values,
    )


def _with_errors(store: Store, registry: MeterRegistry, rows: Sequence[Sequence[Any]]) -> list[ListedEvent]:
    errors = validation_errors(store, registry, [EventPosition(*row[:5]) for row in rows])
    return [listed_event(row, errors.get(EventPosition(*row[:5]))) for row in rows]


def to_json(listed: ListedEvent) -> bytes:
    """Return a listed event as the JSON object of the API."""
    error = b"" if listed.validation_error is None else b',"validationError":' + orjson.dumps(listed.validation_error)
    return b'{"event":%b%b,"ingestedAt":"%b","storedAt":"%b"}' % (
        listed.event,
        error,
        timestamp_text(listed.ingested_ms).encode(),
        timestamp_text(listed.stored_ms).encode(),
    )


def count_events_today(store: Store, max_subjects: int, clock: Clock = utc_now) -> list[tuple[str, int]]:
    """Return the subjects, in order, each with the number of its events whose `time` is today (UTC).

    If there are more than `max_subjects` subjects, those with the most events are named. The events of all others are
    counted together under the subject "".
    """
    midnight = clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = store.rows(sql.statement("events/today"), from_ms=milliseconds(midnight), most=max_subjects)
    return [(str(subject), int(count)) for subject, count in rows]


def _range(filter_: EventFilter, settings: QuerySettings, clock: Clock) -> tuple[int, int]:
    """Return the range of `time` in Unix milliseconds. Raises: InvalidRequest."""
    earliest_ms = milliseconds(clock() - timedelta(days=settings.events_days))
    from_ms = earliest_ms if filter_.from_ is None else filter_.from_.ceil_milliseconds
    if from_ms < earliest_ms:
        raise InvalidRequest(f"from date is too old: events are listed {settings.events_days} days back")
    check_order("from", filter_.from_, "to", filter_.to)
    check_order("ingestedAtFrom", filter_.ingested_from, "ingestedAtTo", filter_.ingested_to)
    to_ms = END * 1000 if filter_.to is None else filter_.to.ceil_milliseconds
    return clamp_ms(from_ms), clamp_ms(to_ms)


def listed_event(row: Sequence[Any], error: str | None) -> ListedEvent:
    """Return the event of a row of sql/events/list.sql. Args: error: its `validation_error`."""
    type_, subject, time_ms, partition, offset, id_, source, data, extensions, arrived_ms, stored_ms = row
    attributes = {"id": id_, "source": source, "type": type_, "subject": subject, "time": timestamp_text(time_ms)}
    event = orjson.dumps({**attributes, "specversion": "1.0"})[:-1]
    if extensions:
        event += b"," + extensions.encode()[1:-1]
    if data:
        event += b',"data":' + data.encode()
    return ListedEvent(event + b"}", LogPosition(time_ms, partition, offset), arrived_ms, stored_ms, error)
