"""Duplicates whose content differs from the stored event: a producer used an id twice, so it is not a retry.

Owns: the comparison. It is made after a block is stored, and only for duplicates, so that a batch without duplicates
costs nothing. It decides nothing about usage: the first event in the log counts, whatever the comparison finds.
An event without `time` has the time of its arrival, which is another one at each attempt: two such events are compared
without their time. A stored event without `time` is searched for in the day before it was stored. If it waited longer
in the log it is not found, and its retry is reported as a duplicate that differs.
Limits: at most MOST_COMPARED duplicates of each block are compared, evenly spread. An event that another process is
only about to store is not compared.
Source: docs/contract.md 3.1, 3.8; docs/design.md R10 (duplicates).
"""

import hashlib
import logging
from collections.abc import Mapping
from operator import eq
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from engine.errors import StoreError, Unavailable
from engine.events.event import EventBatch
from engine.instants import DAY_SECONDS
from engine.store import sql
from engine.store.clickhouse import Store

MOST_COMPARED = 100
_MAX_WAIT_MS = DAY_SECONDS * 1000
_COMPARE_SECONDS = 1  # a look-up that takes longer is given up: a whole day is searched for events without `time`
_COLUMNS = ("key", "type", "subject", "time_ms", "arrived_ms", "content")
_Content: TypeAlias = tuple[bytes, str, str, int | None, bytes]  # key, type, subject, time, digest of the rest
logger = logging.getLogger(__name__)


def find_differing(store: Store, events: EventBatch, kept: EventBatch, since_ms: int) -> EventBatch:
    """Return the duplicates whose content differs from the stored event's; none if the store cannot compare them now.

    Args: kept: the events among `events` that were no duplicates and are stored. since_ms: events stored before this
    instant (Unix milliseconds) are forgotten.
    """
    dropped = _sample(events, kept)
    store = store.with_timeout(_COMPARE_SECONDS)
    try:
        stored_ms = _stored_ms(store, dropped, since_ms)
        same = _same_content(store, dropped, stored_ms)
    except (StoreError, Unavailable) as error:
        logger.warning("duplicates_not_compared count=%d error=%s", len(dropped), error)
        return dropped.first(0)
    keys = dropped.columns.column("key").to_pylist()
    differ = [row for row, key in enumerate(keys) if key in stored_ms and not same[row]]
    return dropped.take(np.array(differ, np.int64))


def _sample(events: EventBatch, kept: EventBatch) -> EventBatch:
    """Return the events that were not kept; if there are too many, an evenly spread sample of them."""
    kept_positions = {position[1:] for position in kept.keys_with_positions()}
    rows = [row for row, position in enumerate(events.keys_with_positions()) if position[1:] not in kept_positions]
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_COMPARED)).astype(np.int64))
    return events.take(np.array(rows, np.int64)[chosen])


def _stored_ms(store: Store, events: EventBatch, since_ms: int) -> dict[bytes, int]:
    """Return by key when its stored event was stored, in Unix milliseconds."""
    keys = sorted({key.hex() for key in events.columns.column("key").to_pylist()})
    table = store.arrow(sql.statement("ingest/known_keys"), keys=keys, since_ms=since_ms)
    return dict(zip(table.column("key").to_pylist(), table.column("stored_ms").to_pylist(), strict=True))


def _same_content(store: Store, events: EventBatch, stored_ms: Mapping[bytes, int]) -> list[bool]:
    """Return for each event whether the stored event with its key has the same content."""
    if not stored_ms:
        return [False] * len(events)
    columns = events.columns
    times, arrived = events.times_ms.tolist(), columns.column("arrived_at").cast(pa.int64()).to_pylist()
    keys, types, subjects = (columns.column(name).to_pylist() for name in ("key", "type", "subject"))
    parameters = {"keys": [key.hex() for key in keys], "types": types, "subjects": subjects}
    found = _contents(store.arrow(sql.statement("ingest/contents_at"), **parameters, times=times))
    if any(map(eq, times, arrived)):
        span = {"from_ms": min(stored_ms.values()) - _MAX_WAIT_MS, "to_ms": max(stored_ms.values())}
        found |= _contents(store.arrow(sql.statement("ingest/contents_between"), **parameters, **span))
    digests = map(_digest, columns.column("extensions").to_pylist(), columns.column("data").to_pylist())
    return [
        bool(_possible_contents(*content) & found)
        for content in zip(keys, types, subjects, times, arrived, digests, strict=True)
    ]


def _contents(table: pa.Table) -> set[_Content]:
    rows = zip(*(table.column(name).to_pylist() for name in _COLUMNS), strict=True)
    return {
        content
        for key, type_, subject, *rest in rows
        for content in _possible_contents(key, _as_text(type_), _as_text(subject), *rest)
    }


def _possible_contents(
    key: bytes, type_: str, subject: str, time_ms: int, arrived_ms: int, digest: bytes
) -> set[_Content]:
    """Return the content of an event, and also the content without its time if the event came without one."""
    contents: set[_Content] = {(key, type_, subject, time_ms, digest)}
    if time_ms == arrived_ms:
        contents.add((key, type_, subject, None, digest))
    return contents


def _as_text(value: str | bytes) -> str:
    """Return a string of an answer as str: one kind of store returns str, the other bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _digest(extensions: str, data: str) -> bytes:
    return hashlib.md5(f"{extensions}\n{data}".encode(), usedforsecurity=False).digest()
