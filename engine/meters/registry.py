"""The registry of meters: its table, a snapshot of it in memory, and the states of a meter.

    create ─▶ CREATING ─(tables and views)─▶ SETTLING ─▶ FILLING ─▶ READY   (after SETTLING: engine/meters/fill.py)
    change of what is counted: a new rollup, from CREATING on; delete: DELETED, then the tables are dropped.

A meter gives complete answers in all of these states; until READY they are computed from the raw events. A process that
dies in CREATING leaves tables that nobody reads. `resume_creation` then creates others, with a later `visible_from`.
Thread-safe. Several processes may share one store; each of them refreshes its snapshot once a second.
Source: docs/design.md R12 (tables of a meter), R12a (one meter for each slug), R16 (a meter counts events before it).
"""

import dataclasses
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from engine import faults
from engine.errors import Conflict, InvalidMeter, NotFound, StoreError, StoreUnavailable
from engine.ids import new_ulid
from engine.instants import EPOCH, Clock, utc_now
from engine.meters.definition import MeterDefinition
from engine.meters.jsonpath import check_indexes, quote_names
from engine.meters.meter import Meter, MeterState, rollup_name
from engine.meters.registry_rows import COLUMNS, from_row, in_utc, to_row
from engine.meters.rollups import create_rollup, drop_rollup
from engine.store import sql
from engine.store.clickhouse import Store

logger = logging.getLogger(__name__)
LEAD = timedelta(seconds=2)  # the time from the decision to create a meter to its `visible_from`
_USER_STEP = 2  # user changes raise the version by 2, so that they win over a concurrent change of state
LEAD_MARGIN = timedelta(milliseconds=500)  # the views must exist this long before `visible_from`
_REGISTRATION_ATTEMPTS = 3
_REGISTRATION_WAIT_SECONDS = 0.2  # within this time the row of another process becomes visible
# A meter that is still in CREATING this long after its `visible_from` was left by a process that died.
CREATION_GRACE = timedelta(seconds=1)


class MeterRegistry:
    """The meters of one store."""

    def __init__(self, store: Store, clock: Clock = utc_now, lead: timedelta = LEAD) -> None:
        self._store = store
        self._clock = clock
        self._lead = lead
        self._write_lock = threading.RLock()
        self._cache_lock = threading.Lock()
        self._meters: dict[str, Meter] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reload the snapshot from the registry table."""
        with self._cache_lock:  # without it, an earlier snapshot could replace a later one
            rows = self._store.rows(sql.statement("meters/list"))
            self._meters = {row[0]: from_row(row) for row in rows}

    def all(self, include_deleted: bool = False) -> list[Meter]:
        """Return the meters in the order of their creation, without deleted ones unless `include_deleted` is set."""
        meters = sorted(self._meters.values(), key=lambda meter: (meter.created_at, meter.id))
        return [meter for meter in meters if include_deleted or meter.state is not MeterState.DELETED]

    def of_type(self, event_type: str) -> list[Meter]:
        """Return the meters, without deleted ones, that count events of a type."""
        return [meter for meter in self.all() if meter.definition.event_type == event_type]

    def find(self, slug_or_id: str) -> Meter:
        """Return the meter with a slug, or else the meter with an id, which may be deleted. Raises: NotFound."""
        for meter in self.all():
            if meter.slug == slug_or_id:
                return meter
        meter_of_id = self._meters.get(slug_or_id.upper())
        if meter_of_id is None:
            raise NotFound(f"meter not found: {slug_or_id}")
        return meter_of_id

    def _find_unambiguous(self, slug_or_id: str) -> Meter:
        """Return the meter that `slug_or_id` names, for a change of it.

        Raises: NotFound; Conflict: the text is the slug of one meter and the id of another one.
        """
        meter = self.find(slug_or_id)
        if meter.slug == slug_or_id and self._meters.get(slug_or_id.upper(), meter) is not meter:
            raise Conflict(f"{slug_or_id} is the slug of one meter and the id of another; write the id in capitals")
        return meter

    def create(self, definition: MeterDefinition) -> Meter:
        """Create a meter. Events that were stored before it are counted too.

        Raises: InvalidMeter: ClickHouse does not accept a JSONPath; Conflict: the slug is in use, or another process
            registered it at the same time.
        """
        with self._write_lock:
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
            faults.hit("meter.after-registered")
            return self._build(meter)

    def _check_slug(self, slug: str) -> None:
        if any(meter.slug == slug for meter in self.all()):
            raise Conflict("meter with the same slug already exists")

    def _register(self, meter: Meter) -> None:
        """Write the first row of a meter. If several processes register a slug at once, exactly one succeeds.

        Raises: Conflict: another process succeeded; StoreUnavailable: the store kept no row of the slug.
        """
        attempts = Counter[int]()
        for _ in range(_REGISTRATION_ATTEMPTS):
            earlier = sum(other.slug == meter.slug for other in self._meters.values())
            self._store.insert_rows(
                "meters", COLUMNS, [to_row(meter)], f"meter {meter.slug} {earlier} {attempts[earlier]}"
            )
            attempts[earlier] += 1
            if self._is_registered(meter):
                return
            # The row of another process will become visible soon, or it was lost when its store died.
            time.sleep(_REGISTRATION_WAIT_SECONDS)
            if self._is_registered(meter):
                return
        raise StoreUnavailable("the store kept neither this meter nor another one with the same slug")

    def _is_registered(self, meter: Meter) -> bool:
        """Return whether a meter is in the store. Raises: Conflict: another one with its slug is."""
        self.refresh()
        if meter.id in self._meters:
            return True
        self._check_slug(meter.slug)
        return False

    def update(self, slug_or_id: str, change: Callable[[MeterDefinition], MeterDefinition]) -> Meter:
        """Replace a meter's definition. If what it counts changes, a new rollup is filled from the events.

        Args: change: gets the current definition, not one from an earlier snapshot, and returns the new one.
        Raises: NotFound; Conflict: `slug_or_id` is ambiguous; InvalidMeter; the errors that `change` raises.
        """
        with self._write_lock:
            self.refresh()
            meter = self._find_unambiguous(slug_or_id)
            if meter.state is MeterState.DELETED:
                raise NotFound(f"meter not found: {slug_or_id}")
            definition = change(meter.definition)
            self.check_paths(definition)
            now = self._clock()
            if definition.counted == meter.definition.counted:
                return self._write(dataclasses.replace(meter, definition=definition, updated_at=now), _USER_STEP)
            return self._rebuild(dataclasses.replace(meter, definition=definition, updated_at=now), _USER_STEP)

    def delete(self, slug_or_id: str) -> None:
        """Delete a meter and its rollup; its events stay. Deleting it by id once more does nothing.

        Raises: NotFound; Conflict: `slug_or_id` is ambiguous.
        """
        with self._write_lock:
            self.refresh()
            meter = self._find_unambiguous(slug_or_id)
            if meter.state is MeterState.DELETED:
                return
            now = self._clock()
            deleted = dataclasses.replace(meter, state=MeterState.DELETED, updated_at=now, deleted_at=now)
            self._write(deleted, _USER_STEP)
            faults.hit("meter.after-delete")
            drop_rollup(self._store, meter.rollup)

    def resume_creation(self) -> None:
        """Create again the meters whose creation was interrupted because a process died."""
        for meter in self.all():
            if meter.state is MeterState.CREATING and self._clock() > meter.visible_from + CREATION_GRACE:
                with self._write_lock:
                    self.refresh()
                    if self._meters.get(meter.id) == meter:
                        logger.info("meter_creation_resumed slug=%s", meter.slug)
                        self._rebuild(meter)

    def drop_orphans(self) -> None:
        """Drop the rollups that belong to no meter: a process that died left them. Run it at the start."""
        with self._write_lock:
            # The tables are listed before the registry is read, because a meter is registered before its tables exist.
            names = [name for (name,) in self._store.rows(sql.statement("meters/rollups"))]
            self.refresh()
            live = {meter.rollup for meter in self.all()}
            for name in names:
                if name not in live:
                    logger.info("orphan_rollup_dropped rollup=%s", name)
                    drop_rollup(self._store, name)

    def is_current(self, meter: Meter) -> bool:
        """Return whether the stored meter still equals this one."""
        self.refresh()
        return self._meters.get(meter.id) == meter

    def advance(self, meter: Meter, state: MeterState, filled_to: datetime) -> Meter | None:
        """Record how far a rollup is filled, and return the new version of the meter.

        None means that nothing was recorded: the meter got another rollup or was deleted in the meantime, or another
        process has filled it further.
        """
        with self._write_lock:
            self.refresh()
            current = self._meters.get(meter.id)
            if current is None or current.rollup != meter.rollup or current.state is MeterState.DELETED:
                return None
            if current.state is MeterState.READY or current.filled_to > filled_to:
                return None  # another process was faster
            return self._write(dataclasses.replace(current, state=state, filled_to=filled_to))

    def _rebuild(self, meter: Meter, version_step: int = 1) -> Meter:
        """Give a meter a new rollup, build it, and drop the old one. Return the meter as it is then."""
        built = self._build(self._start_rollup(meter, self._lead, version_step))
        if built.rollup != meter.rollup:
            drop_rollup(self._store, meter.rollup)
        return built

    def _start_rollup(self, meter: Meter, lead: timedelta, version_step: int = 1) -> Meter:
        """Write that a meter is in CREATING with a new rollup, whose tables do not exist yet."""
        visible_from = self._next_visible_from(lead)
        started = self._write(
            dataclasses.replace(
                meter,
                state=MeterState.CREATING,
                rollup=rollup_name(meter.definition, visible_from),
                visible_from=visible_from,
                filled_to=EPOCH,
            ),
            version_step,
        )
        faults.hit("meter.after-registered")
        return started

    def _build(self, meter: Meter) -> Meter:
        """Create the tables and views of a meter in CREATING.

        Return the meter as it is then; another process may have changed it.
        """
        lead = self._lead
        while True:
            create_rollup(self._store, meter)
            faults.hit("meter.after-views")
            self.refresh()
            current = self._meters[meter.id]
            if current.rollup != meter.rollup or current.state is MeterState.DELETED:
                # In the meantime the meter was deleted, or another process is building another rollup of it.
                drop_rollup(self._store, meter.rollup)
                return current
            if max(self._clock(), self._newest_stamp()) <= current.visible_from - LEAD_MARGIN:
                return self._write(dataclasses.replace(current, state=MeterState.SETTLING))
            # The views exist too late: they may have missed an event that they should have taken. Build others.
            # The lead is doubled: a store that needs longer than the lead to create tables would never finish.
            lead *= 2
            meter = self._start_rollup(current, lead)
            drop_rollup(self._store, current.rollup)

    def _next_visible_from(self, lead: timedelta) -> datetime:
        return max(self._clock(), self._newest_stamp()) + lead

    def _newest_stamp(self) -> datetime:
        """Return the latest `stored_at` of events and claims in the store, or the epoch if there is none.

        It is ahead of the clock if the clock was set back.
        """
        return in_utc(self._store.rows(sql.statement("meters/newest_stamp"))[0][0])

    def _write(self, meter: Meter, version_step: int = 1) -> Meter:
        """Write the next version of a meter and return it.

        Args: version_step: by how much the version rises. If two processes write at once, the higher version wins.
        """
        with self._cache_lock:
            current = self._meters.get(meter.id)
            written = dataclasses.replace(meter, version=(current.version if current else 0) + version_step)
            self._store.insert_rows("meters", COLUMNS, [to_row(written)])
            self._meters = {**self._meters, written.id: written}
            return written

    def check_paths(self, definition: MeterDefinition) -> None:
        """Check that ClickHouse accepts each JSONPath and can read it in bounded time. Raises: InvalidMeter."""
        for path in definition.paths:
            if not self._accepts_path(path):
                quoted = quote_names(path)
                proposal = f"; write {quoted}" if quoted and self._accepts_path(quoted) else ""
                raise InvalidMeter(f"invalid JSONPath: {path}{proposal}")
            check_indexes(path)

    def _accepts_path(self, path: str) -> bool:
        """Return whether ClickHouse accepts a JSONPath."""
        try:
            self._store.rows("SELECT JSON_VALUE('{}', {path:String})", path=path)
        except StoreError:
            return False
        return True
