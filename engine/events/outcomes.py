"""What became of events that were sent: whether one of a source and id is stored, since when, and what left it out.

Owns: the answer for a list of sources and ids. Whether an event is stored is asked of the index that ingest itself
asks, so it says what a second event of the same source and id would meet. Why a meter did not count one is asked of
engine/events/verdicts.py, as the listing asks it.
Limits: the index forgets a week after the duplicate window has passed. Each call reads the granules of the index that
its keys fall into, and of `events` the granules of the stamps found, so ask for many events at once.
Source: docs/contract.md 3.7.
"""

from collections.abc import Sequence

from engine.events.event import event_key
from engine.events.outcome import EventName, Outcome
from engine.events.verdicts import Place, validation_errors
from engine.meters.registry import MeterRegistry
from engine.store import sql
from engine.store.clickhouse import Store


def newest_stamp(store: Store) -> int | None:
    """Return when the newest batch of events was stamped, in Unix milliseconds; None: there was none in 30 days.

    Of an event that is stored from now on `stored_ms` is later, by whichever process: only its own clock could be
    behind that of another that has just stored something.
    """
    stamp = int(store.rows(sql.statement("events/newest_stamp"))[0][0])
    return stamp or None


def event_outcomes(
    store: Store, registry: MeterRegistry, names: Sequence[EventName], explain_after_ms: int | None = None
) -> list[Outcome]:
    """Return what became of each event, in their order; of those stored after `explain_after_ms` (None: of all) why
    meters did not count them, too."""
    keys = [event_key(*name).hex().upper() for name in names]
    stored = _stored(store, keys)
    wanted = {key: ms for key, ms in stored.items() if explain_after_ms is None or ms > explain_after_ms}
    places = _places(store, wanted)
    errors = validation_errors(store, registry, [*places.values()])
    explained = {key: errors.get(place) for key, place in places.items()}
    return [Outcome(stored.get(key), explained.get(key)) for key in keys]


def _stored(store: Store, keys: Sequence[str]) -> dict[str, int]:
    return {key: int(ms) for key, ms in store.rows(_statement("events/last_stored"), keys=[*keys])} if keys else {}


def _places(store: Store, stored: dict[str, int]) -> dict[str, Place]:
    if not stored:
        return {}
    stamps = sorted({*stored.values()})
    rows = store.rows(_statement("events/places_of_keys"), keys=[*stored], stamps=stamps)
    return {key: Place(*place) for key, stored_ms, *place in rows if stored[key] == stored_ms}


def _statement(name: str) -> str:
    return sql.statement(name, keys=sql.statement("events/key_list"))
