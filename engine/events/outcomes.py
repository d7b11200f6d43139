"""The outcomes of events that were sent: whether each is stored, since when, and why a meter did not count it.

Owns: the answer for a list of sources and ids. Whether an event is stored is read from the index that ingest uses, so
the answer says whether a second event with the same source and id would be a duplicate. Why a meter did not count an
event is said by engine/events/uncounted_reasons.py, as for the listing.
Limits: the index forgets a key a week after the duplicate window has passed. Each call reads the granules of the index
that contain its keys, and the granules of `events` with the stamps that were found. So ask for many events at once.
Source: docs/contract.md 3.7.
"""

from collections.abc import Sequence

from engine.events.event import event_key
from engine.events.outcome import EventName, Outcome
from engine.events.uncounted_reasons import EventPosition, validation_errors
from engine.meters.registry import MeterRegistry
from engine.store import sql
from engine.store.clickhouse import Store


def newest_stamp(store: Store) -> int | None:
    """Return the stamp of the newest batch of events in Unix milliseconds, or None if there was none in 30 days.

    An event that any process stores from now on has a later `stored_ms`. The only exception is a process whose clock is
    behind the clock of another process that has just stored something.
    """
    stamp = int(store.rows(sql.statement("events/newest_stamp"))[0][0])
    return stamp or None


def event_outcomes(
    store: Store, registry: MeterRegistry, names: Sequence[EventName], explain_after_ms: int | None = None
) -> list[Outcome]:
    """Return the outcome of each event, in the order of `names`.

    Args: explain_after_ms: only the events stored after this instant (Unix milliseconds; None: all) get a
        `validation_error`.
    """
    keys = [event_key(*name).hex().upper() for name in names]
    stored = _stored(store, keys)
    to_explain = {key: ms for key, ms in stored.items() if explain_after_ms is None or ms > explain_after_ms}
    positions = _find_positions(store, to_explain)
    errors = validation_errors(store, registry, [*positions.values()])
    explained = {key: errors.get(position) for key, position in positions.items()}
    return [Outcome(stored.get(key), explained.get(key)) for key in keys]


def _stored(store: Store, keys: Sequence[str]) -> dict[str, int]:
    return {key: int(ms) for key, ms in store.rows(_statement("events/last_stored"), keys=[*keys])} if keys else {}


def _find_positions(store: Store, stored: dict[str, int]) -> dict[str, EventPosition]:
    if not stored:
        return {}
    stamps = sorted({*stored.values()})
    rows = store.rows(_statement("events/places_of_keys"), keys=[*stored], stamps=stamps)
    return {key: EventPosition(*position) for key, stored_ms, *position in rows if stored[key] == stored_ms}


def _statement(name: str) -> str:
    return sql.statement(name, keys=sql.statement("events/key_list"))
