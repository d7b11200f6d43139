"""A process as the store sees it: it claims, drops duplicates and inserts, while other processes do the same."""

from datetime import timedelta

from engine.events.event import Event, EventBatch, event_key
from engine.instants import Clock, milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.claims import BatchClaims
from ingest.duplicates import Duplicates, KeysForgotten
from ingest.event_log import Plan, Range

NOW = milliseconds(utc_now())


class Process:
    """One of several processes that store into one database: its claims, its filter, and its current plan."""

    def __init__(
        self, store: Store, partition: int, planned: list[Plan], log: str = "log", clock: Clock = utc_now
    ) -> None:
        store.shared = True
        self.claims = BatchClaims(store, log)
        self.duplicates = Duplicates(store, self.claims, lambda: planned, timedelta(days=35), clock)
        self.duplicates.load()
        self._store = store
        self._partition = partition
        self._planned = planned
        self._offset = 0

    def plan(self, stored_ms: int = NOW) -> Plan:
        self._offset += 100
        plan = Plan((Range(self._partition, self._offset, self._offset + 100),), stored_ms)
        self._planned.append(plan)
        return plan

    def drop(self, plan: Plan, *ids: str) -> EventBatch:
        [(partition, offset, _)] = plan.ranges
        events = [
            Event(id_, "s", "call", "u", NOW, b"{}", b"", NOW, partition, offset + index, event_key("s", id_))
            for index, id_ in enumerate(ids)
        ]
        batch = EventBatch.of(*zip(*events, strict=True))
        try:
            return self.duplicates.drop(batch, plan)
        except KeysForgotten:
            self.duplicates.load()
            return self.duplicates.drop(batch, plan)

    def store(self, plan: Plan, *ids: str) -> list[str]:
        """Store a batch. Return the ids that were not dropped."""
        kept = self.drop(plan, *ids)
        self.insert(plan, kept)
        self._planned.remove(plan)
        return list(kept.columns.column("id").to_pylist())

    def insert(self, plan: Plan, kept: EventBatch) -> None:
        if len(kept):
            self._store.insert_block("events", kept.block(plan.stored_ms), plan.token)
            self.duplicates.remember(kept)
