"""Puts events stored before a meter's views existed into its rollup, while ingest goes on.

Owns: the steps from SETTLING to READY. The views take events stamped `visible_from` or later; the fill takes those
stamped earlier, once no batch stamped earlier can reach the store any more (`settled`, whatever clocks say). From
then on they are a fixed set, so the fill goes through it in pieces of event time that come out the same on every
attempt: each is one block under its own token, and how far it came is in the registry. A piece that a crash cut
short is completed.
Source: docs/design.md R16.
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
PIECE_EVENTS = 500_000
_HOUR = timedelta(hours=1)


class Barriers(Protocol):
    """What a fill waits for."""

    def settled(self, before_ms: int) -> bool:
        """Whether every batch stamped before that instant is in the store, and none will be again."""
        ...

    def whole(self, rollup: str) -> bool:
        """Whether every batch that was unresolved when this was asked first about a rollup has been stored since."""
        ...


class Filler:
    """Fills the rollups of a registry. One process a store runs it.

    `barriers`: what to wait for (ingest/fill_barrier.py).
    """

    def __init__(
        self,
        store: Store,
        registry: MeterRegistry,
        barriers: Barriers,
        clock: Clock = utc_now,
        piece_events: int = PIECE_EVENTS,
    ) -> None:
        self._store = store
        self._registry = registry
        self._barriers = barriers
        self._clock = clock
        self._piece_events = piece_events

    def step(self) -> bool:
        """Take every meter that can be filled one piece further. Returns whether any was.

        Raises: StoreError: one of them failed; the others were taken further all the same.
        """
        self._registry.resume_creation()
        steps = {MeterState.SETTLING: self._settle, MeterState.FILLING: self._fill}
        further, failed = False, None
        for meter in self._registry.all():
            if meter.state in steps:
                try:
                    further |= steps[meter.state](meter)
                except StoreError as error:
                    failed = failed or error
        if failed:
            raise failed
        return further

    def _settle(self, meter: Meter) -> bool:
        if self._clock() < meter.visible_from or not self._barriers.settled(milliseconds(meter.visible_from)):
            return False
        self._registry.advance(meter, MeterState.FILLING, meter.filled_to)
        return True

    def _fill(self, meter: Meter) -> bool:
        end = self._next_end(meter)
        if end is None:
            if not self._barriers.whole(meter.rollup):  # `events` may show half of a batch that the rollup lacks
                return False
            faults.passing("fill.before-ready")
            if self._registry.advance(meter, MeterState.READY, meter.filled_to):
                logger.info("meter_ready slug=%s rollup=%s", meter.slug, meter.rollup)
            return True
        faults.passing("fill.before-piece")
        if not self._registry.stands(meter):  # this process was paused, others went on: the token may be forgotten
            return False
        self._store.command(self._piece(meter, meter.filled_to, end))
        faults.passing("fill.after-piece")
        self._registry.advance(meter, MeterState.FILLING, end)
        logger.info(
            "meter_piece_filled slug=%s from=%s to=%s", meter.slug, meter.filled_to.isoformat(), end.isoformat()
        )
        return True

    def _next_end(self, meter: Meter) -> datetime | None:
        """Return the end of the next piece: whole hours with about `piece_events` events; None: nothing is left."""
        rows = self._store.rows(
            sql.statement("meters/next_piece"),
            event_type=meter.definition.eventType,
            visible_from_ms=milliseconds(meter.visible_from),
            filled_to_ms=milliseconds(meter.filled_to),
            events=self._piece_events,
        )
        hour: datetime | None = rows[0][0]
        return None if hour is None else hour.replace(tzinfo=UTC) + _HOUR

    def _piece(self, meter: Meter, start: datetime, end: datetime) -> str:
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
