"""Writes the events that were stored before a meter's views existed into its rollup, while ingest continues.

Owns: the steps from SETTLING to READY. The views take events whose stamp (`stored_at`) is `visible_from` or later. The
fill takes the events with an earlier stamp. It starts when no batch with an earlier stamp can reach the store any more
(`Barriers.all_stored_before`; this does not depend on clocks). From then on the set of these events is fixed. The fill
writes it in segments of event time, and every attempt computes the same segments. Each segment is one block with its
own token, and the registry records how far the fill has come. If a crash interrupts a segment, the next attempt
completes it.
Source: docs/design.md R16 (a meter counts the events before it), R16a (barrier), R16b (no answer shrinks).
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Protocol

from engine import faults
from engine.errors import StoreError
from engine.instants import Clock, milliseconds, utc_now
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import MeterRegistry
from engine.meters.rollups import dimension_columns, minute_select
from engine.store import sql
from engine.store.clickhouse import Store

logger = logging.getLogger(__name__)
SEGMENT_EVENTS = 500_000
_HOUR = timedelta(hours=1)


class Barriers(Protocol):
    """The conditions that a fill waits for."""

    def all_stored_before(self, before_ms: int) -> bool:
        """Return whether every batch stamped before `before_ms` is stored, and no further one can be stored.

        Args: before_ms: Unix milliseconds.
        """
        ...

    def all_stored_whole(self, rollup: str) -> bool:
        """Return whether all batches that were unresolved at the first call for this rollup are stored by now."""
        ...


class Filler:
    """Fills the rollups of a registry. Only one process of a store runs it.

    Args: barriers: the conditions to wait for (ingest/fill_barrier.py). segment_events: about how many events a
        segment has.
    """

    def __init__(
        self,
        store: Store,
        registry: MeterRegistry,
        barriers: Barriers,
        clock: Clock = utc_now,
        segment_events: int = SEGMENT_EVENTS,
    ) -> None:
        self._store = store
        self._registry = registry
        self._barriers = barriers
        self._clock = clock
        self._segment_events = segment_events

    def step(self) -> bool:
        """Advance every meter that can be filled by one step. Return whether any meter was advanced.

        Raises: StoreError: a meter failed. The other meters were advanced nevertheless.
        """
        self._registry.resume_creation()
        steps = {MeterState.SETTLING: self._await_barrier, MeterState.FILLING: self._fill}
        progressed, first_error = False, None
        for meter in self._registry.all():
            if meter.state in steps:
                try:
                    progressed |= steps[meter.state](meter)
                except StoreError as error:
                    first_error = first_error or error
        if first_error:
            raise first_error
        return progressed

    def _await_barrier(self, meter: Meter) -> bool:
        if self._clock() < meter.visible_from or not self._barriers.all_stored_before(milliseconds(meter.visible_from)):
            return False
        self._registry.advance(meter, MeterState.FILLING, meter.filled_to)
        return True

    def _fill(self, meter: Meter) -> bool:
        end = self._next_segment_end(meter)
        if end is None:
            if not self._barriers.all_stored_whole(meter.rollup):
                # `events` may contain a part of a batch that the rollup does not contain yet.
                return False
            faults.hit("fill.before-ready")
            if self._registry.advance(meter, MeterState.READY, meter.filled_to):
                logger.info("meter_ready slug=%s rollup=%s", meter.slug, meter.rollup)
            return True
        faults.hit("fill.before-piece")
        if not self._registry.is_current(meter):
            # This process was paused and another one continued the fill. The store may have forgotten the token of
            # this segment, so that a second insert would double it.
            return False
        self._store.command(self._fill_statement(meter, meter.filled_to, end))
        faults.hit("fill.after-piece")
        self._registry.advance(meter, MeterState.FILLING, end)
        logger.info(
            "meter_piece_filled slug=%s from=%s to=%s", meter.slug, meter.filled_to.isoformat(), end.isoformat()
        )
        return True

    def _next_segment_end(self, meter: Meter) -> datetime | None:
        """Return the end of the next segment, which is whole hours with about `segment_events` events.

        None means that no event is left.
        """
        rows = self._store.rows(
            sql.statement("meters/next_piece"),
            event_type=meter.definition.event_type,
            visible_from_ms=milliseconds(meter.visible_from),
            filled_to_ms=milliseconds(meter.filled_to),
            events=self._segment_events,
        )
        hour: datetime | None = rows[0][0]
        return None if hour is None else hour.replace(tzinfo=UTC) + _HOUR

    def _fill_statement(self, meter: Meter, start: datetime, end: datetime) -> str:
        """Return the INSERT that fills the segment [start, end) of event time."""
        stored = sql.statement(
            "meters/stored_before",
            visible_from_ms=str(milliseconds(meter.visible_from)),
            start_ms=str(milliseconds(start)),
            end_ms=str(milliseconds(end)),
        )
        return sql.statement(
            "meters/fill",
            table=sql.identifier(meter.table("minute")),
            settings=self._store.fill_settings(f"fill-{meter.rollup}-{milliseconds(start)}"),
            select=minute_select(meter, stored),
            dimension_names="".join(f", {name}" for name in dimension_columns(meter)),
        )
