"""The meter of these tests: its definition and clock, its events, its answers and its rollups."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from engine.events.event import Event, event_block, event_key
from engine.instants import milliseconds, utc_now
from engine.meters.fill import Filler
from engine.meters.meter import Meter
from engine.meters.registry import LEAD, MeterRegistry
from engine.store.clickhouse import Store
from engine.usage.answers import UsageQuery, query_json
from tests.harness.no_ingest import NoIngest
from tests.harness.translation import rows

NOON = utc_now().replace(minute=0, second=0, microsecond=0)  # not fixed: old stamps are forgotten
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SUM = {"slug": "tokens", "eventType": "call", "aggregation": "SUM", "valueProperty": "$.v"}


class SetClock:
    """A clock that stands still until it is set. `next` may contain its next answers."""

    def __init__(self) -> None:
        self.at = NOON
        self.next: list[datetime] = []

    def __call__(self) -> datetime:
        return self.next.pop(0) if self.next else self.at


def put(store: Store, offset: int, value: int, stored_at: datetime, model: str = "a") -> None:
    """Store one event at noon, as a batch with the stamp `stored_at` would."""
    data = f'{{"v":{value},"model":"{model}"}}'.encode()
    key = event_key("s", str(offset))
    event = Event(str(offset), "s", "call", "u", milliseconds(NOON), data, b"", milliseconds(NOON), 0, offset, key)
    store.insert_block("events", event_block([event], milliseconds(stored_at)), f"t{offset}")


def make_ready(store: Store, registry: MeterRegistry, clock: SetClock) -> None:
    clock.at += LEAD + timedelta(seconds=1)
    filler = Filler(store, registry, NoIngest(), clock)
    while filler.step():
        pass


def answer(store: Store, meter: Meter, *group_by: str) -> dict[tuple[str, ...], Decimal]:
    asked = UsageQuery(group_by=group_by).resolved(meter)
    found = rows(query_json(store, meter, asked).rows)
    return {tuple(text for _, text in row.group_by): row.value for row in found}


def rollups(store: Store) -> set[str]:
    """Return the rollups that have any table or view."""
    names = store.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'meter%'")
    return {name.removesuffix("_view").rpartition("_")[0] for (name,) in names} - {""}
