"""Which meters there are: the registry table, an in-memory picture of it, and the life of a meter.

    create ─▶ CREATING ─(tables and views)─▶ SETTLING ─▶ FILLING ─▶ READY   (the last two steps: engine/meters/fill.py)
    change of group-by: a new rollup from CREATING on; delete: DELETED, then the tables go.

A meter answers completely in each of these states: until READY from the events themselves. A process that dies in
CREATING leaves tables nobody reads; `resume_creation` makes them anew under a later `visible_from`.
Thread-safe. Several processes may share one store: each refreshes its picture once a second.
Source: docs/design.md R12, R12a, R16.
"""

import dataclasses
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson

from engine import faults
from engine.errors import Conflict, InvalidMeter, NotFound, StoreError, StoreUnavailable
from engine.ids import new_ulid
from engine.instants import EPOCH, Clock, utc_now
from engine.meters.definition import MeterDefinition
from engine.meters.jsonpath import check_indexes, with_quotes
from engine.meters.meter import Meter, MeterState, rollup_name
from engine.meters.rollups import create_rollup, drop_rollup
from engine.store import sql
from engine.store.clickhouse import Store

logger = logging.getLogger(__name__)
_COLUMNS = (
    "id", "version", "slug", "state", "definition", "rollup", "visible_from", "filled_to",
    "created_at", "updated_at", "deleted_at",
)  # fmt: skip
LEAD = timedelta(seconds=2)  # from the decision to create to the first event the views take
_ASKED = 2  # the weight of what a user asked for: a step of a meter's life taken meanwhile does not undo it
LEAD_MARGIN = timedelta(milliseconds=500)  # the views must stand this long before that
_REGISTRATIONS = 3
_REGISTRATION_SECONDS = 0.2  # in which a row whose token stands is seen
GRACE = timedelta(seconds=1)  # a creation not finished by then was given up by a process that died


class MeterRegistry:
    """The meters of one store."""

    def __init__(self, store: Store, clock: Clock = utc_now, lead: timedelta = LEAD) -> None:
        self._store = store
        self._clock = clock
        self._lead = lead
        self._writing = threading.RLock()
        self._picturing = threading.Lock()
        self._meters: dict[str, Meter] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take a new picture of the registry table."""
        with self._picturing:  # or a picture taken earlier would replace a later one
            rows = self._store.rows(sql.statement("meters/list"))
            self._meters = {row[0]: _meter(row) for row in rows}

    def all(self, include_deleted: bool = False) -> list[Meter]:
        """Return the meters, oldest first."""
        meters = sorted(self._meters.values(), key=lambda meter: (meter.created_at, meter.id))
        return [meter for meter in meters if include_deleted or meter.state is not MeterState.DELETED]

    def of_type(self, event_type: str) -> list[Meter]:
        """Return the live meters that count events of a type."""
        return [meter for meter in self.all() if meter.definition.eventType == event_type]

    def find(self, slug_or_id: str) -> Meter:
        """Return the live meter of a slug, or any meter of an id. Raises: NotFound."""
        for meter in self.all():
            if meter.slug == slug_or_id:
                return meter
        meter_of_id = self._meters.get(slug_or_id.upper())
        if meter_of_id is None:
            raise NotFound(f"meter not found: {slug_or_id}")
        return meter_of_id

    def _only(self, slug_or_id: str) -> Meter:
        """Return the meter that is to be changed. Raises: NotFound. Conflict: a slug is also the id of another."""
        meter = self.find(slug_or_id)
        if meter.slug == slug_or_id and self._meters.get(slug_or_id.upper(), meter) is not meter:
            raise Conflict(f"{slug_or_id} is the slug of one meter and the id of another; write the id in capitals")
        return meter

    def create(self, definition: MeterDefinition) -> Meter:
        """Create a meter; events stored before it are counted too.

        Raises: InvalidMeter: a JSONPath ClickHouse does not take; Conflict: the slug is in use, or is taken meanwhile.
        """
        with self._writing:
            self.check_paths(definition)
            self.refresh()
            self._check_slug(definition.slug)
            now = self._clock()
            visible_from = self._next_visible_from(self._lead)
            meter = Meter(
                id=new_ulid(),
                version=1,
                definition=definition,
                state=MeterState.CREATING,
                rollup=rollup_name(definition, visible_from),
                visible_from=visible_from,
                filled_to=EPOCH,
                created_at=now,
                updated_at=now,
            )
            self._register(meter)
            faults.passing("meter.after-registered")
            return self._build(meter, self._lead)

    def _check_slug(self, slug: str) -> None:
        if any(meter.slug == slug for meter in self.all()):
            raise Conflict("meter with the same slug already exists")

    def _register(self, meter: Meter) -> None:
        """Write the first row of a meter. Of processes that do so at once for one slug the store takes one's.

        Raises: Conflict: another's.
        """
        tries = Counter[int]()
        for _ in range(_REGISTRATIONS):
            earlier = sum(other.slug == meter.slug for other in self._meters.values())
            self._store.insert_rows("meters", _COLUMNS, [_row(meter)], f"meter {meter.slug} {earlier} {tries[earlier]}")
            tries[earlier] += 1
            if self._is_registered(meter):
                return
            time.sleep(_REGISTRATION_SECONDS)  # the other's row is about to be seen, or was lost when its store died
            if self._is_registered(meter):
                return
        raise StoreUnavailable("the store neither took the meter nor has another of its slug")

    def _is_registered(self, meter: Meter) -> bool:
        """Return whether a meter is in the store. Raises: Conflict: another of its slug is."""
        self.refresh()
        if meter.id in self._meters:
            return True
        self._check_slug(meter.slug)
        return False

    def update(self, slug_or_id: str, change: Callable[[MeterDefinition], MeterDefinition]) -> Meter:
        """Replace a live meter's definition; another group-by gets a new rollup, filled from the events.

        Args: change: is given the definition there is by now, not one an earlier picture had.
        Raises: NotFound, InvalidMeter; what `change` raises.
        """
        with self._writing:
            self.refresh()
            meter = self._only(slug_or_id)
            if meter.state is MeterState.DELETED:
                raise NotFound(f"meter not found: {slug_or_id}")
            definition = change(meter.definition)
            self.check_paths(definition)
            now = self._clock()
            if definition.counted == meter.definition.counted:
                return self._write(dataclasses.replace(meter, definition=definition, updated_at=now), _ASKED)
            return self._rebuild(dataclasses.replace(meter, definition=definition, updated_at=now), self._lead, _ASKED)

    def delete(self, slug_or_id: str) -> None:
        """Delete a meter and its rollup; its events stay. Deleting by id again does nothing. Raises: NotFound."""
        with self._writing:
            self.refresh()
            meter = self._only(slug_or_id)
            if meter.state is MeterState.DELETED:
                return
            now = self._clock()
            gone = dataclasses.replace(meter, state=MeterState.DELETED, updated_at=now, deleted_at=now)
            self._write(gone, _ASKED)
            faults.passing("meter.after-delete")
            drop_rollup(self._store, meter.rollup)

    def resume_creation(self) -> None:
        """Create anew what a process that died left half created."""
        for meter in self.all():
            if meter.state is MeterState.CREATING and self._clock() > meter.visible_from + GRACE:
                with self._writing:
                    self.refresh()
                    if self._meters.get(meter.id) == meter:
                        logger.info("meter_creation_resumed slug=%s", meter.slug)
                        self._rebuild(meter, self._lead)

    def drop_orphans(self) -> None:
        """Drop rollups no meter answers from: left by a process that died. Run it at start."""
        with self._writing:
            # Tables first, registry second: a meter is registered before its tables are made.
            names = [name for (name,) in self._store.rows(sql.statement("meters/rollups"))]
            self.refresh()
            live = {meter.rollup for meter in self.all()}
            for name in names:
                if name not in live:
                    logger.info("orphan_rollup_dropped rollup=%s", name)
                    drop_rollup(self._store, name)

    def stands(self, meter: Meter) -> bool:
        """Return whether a meter is still as it was, in the store."""
        self.refresh()
        return self._meters.get(meter.id) == meter

    def advance(self, meter: Meter, state: MeterState, filled_to: datetime) -> Meter | None:
        """Record how far a rollup is filled; None if the meter was changed or deleted meanwhile."""
        with self._writing:
            self.refresh()
            current = self._meters.get(meter.id)
            if current is None or current.rollup != meter.rollup or current.state is MeterState.DELETED:
                return None
            if current.state is MeterState.READY or current.filled_to > filled_to:
                return None  # another process was quicker
            return self._write(dataclasses.replace(current, state=state, filled_to=filled_to))

    def _rebuild(self, meter: Meter, lead: timedelta, weight: int = 1) -> Meter:
        old = meter.rollup
        visible_from = self._next_visible_from(lead)
        renewed = self._write(
            dataclasses.replace(
                meter,
                state=MeterState.CREATING,
                rollup=rollup_name(meter.definition, visible_from),
                visible_from=visible_from,
                filled_to=EPOCH,
            ),
            weight,
        )
        faults.passing("meter.after-registered")
        built = self._build(renewed, lead)
        if built.rollup != old:
            drop_rollup(self._store, old)
        return built

    def _build(self, meter: Meter, lead: timedelta) -> Meter:
        """Make the tables and views of a meter in CREATING; returns what it is by then, maybe by another process."""
        create_rollup(self._store, meter)
        faults.passing("meter.after-views")
        self.refresh()
        current = self._meters[meter.id]
        if current.rollup != meter.rollup or current.state is MeterState.DELETED:
            drop_rollup(self._store, meter.rollup)  # meanwhile it was deleted, or is made anew elsewhere
            return current
        meter = current
        if max(self._clock(), self._newest_stamp()) > meter.visible_from - LEAD_MARGIN:
            # The views may have missed an event they should take: their tables are too late, make others.
            # Twice the lead, or a store that takes longer than it to make tables would never be done.
            return self._rebuild(meter, 2 * lead)
        return self._write(dataclasses.replace(meter, state=MeterState.SETTLING))

    def _next_visible_from(self, lead: timedelta) -> datetime:
        return max(self._clock(), self._newest_stamp()) + lead

    def _newest_stamp(self) -> datetime:
        """Return the latest stamp in the store: the clock, unless that was set back."""
        return _aware(self._store.rows(sql.statement("meters/newest_stamp"))[0][0])

    def _write(self, meter: Meter, weight: int = 1) -> Meter:
        """Write the next version. `weight`: of two processes that write at the same moment the greater one wins."""
        with self._picturing:
            current = self._meters.get(meter.id)
            written = dataclasses.replace(meter, version=(current.version if current else 0) + weight)
            self._store.insert_rows("meters", _COLUMNS, [_row(written)])
            self._meters = {**self._meters, written.id: written}
            return written

    def check_paths(self, definition: MeterDefinition) -> None:
        """Refuse a JSONPath ClickHouse does not take, or could not read in time. Raises: InvalidMeter."""
        for path in definition.paths:
            if not self._takes(path):
                quoted = with_quotes(path)
                proposal = f"; write {quoted}" if quoted and self._takes(quoted) else ""
                raise InvalidMeter(f"invalid JSONPath: {path}{proposal}")
            check_indexes(path)

    def _takes(self, path: str) -> bool:
        """Return whether ClickHouse takes a JSONPath."""
        try:
            self._store.rows("SELECT JSON_VALUE('{}', {path:String})", path=path)
        except StoreError:
            return False
        return True


def _row(meter: Meter) -> list[object]:
    return [
        meter.id,
        meter.version,
        meter.slug,
        meter.state.value,
        orjson.dumps(meter.definition.model_dump(mode="json")).decode(),
        meter.rollup,
        meter.visible_from,
        meter.filled_to,
        meter.created_at,
        meter.updated_at,
        meter.deleted_at,
    ]


def _meter(row: tuple[object, ...]) -> Meter:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Meter(
        id=str(values["id"]),
        version=int(str(values["version"])),
        definition=MeterDefinition.model_validate_json(str(values["definition"])),
        state=MeterState(str(values["state"])),
        rollup=str(values["rollup"]),
        visible_from=_aware(values["visible_from"]),
        filled_to=_aware(values["filled_to"]),
        created_at=_aware(values["created_at"]),
        updated_at=_aware(values["updated_at"]),
        deleted_at=_aware(values["deleted_at"]) if values["deleted_at"] else None,
    )


def _aware(value: object) -> datetime:
    assert isinstance(value, datetime)  # noqa: S101 - the column is a DateTime64
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
