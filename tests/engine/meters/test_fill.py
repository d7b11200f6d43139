"""Meters created after their events: complete at once, and unchanged after the fill, whatever happens in between.

Log, consumer, registry and filler are real; only the clock is the tests' own. All answers are compared with the fold.
"""

import dataclasses
import random
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.config.settings import IngestSettings
from engine.instants import milliseconds, utc_now
from engine.meters.fill import Filler
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import LEAD, MeterRegistry
from engine.meters.rollups import GRAINS
from engine.store.clickhouse import Store
from engine.usage.answers import query_json
from engine.usage.grains import Grain
from ingest.consumer import Consumer
from ingest.event_log import Plan, Range
from ingest.fill_barrier import FillBarrier
from ingest.sqlite_log import SqliteLog
from tests.harness import oracle
from tests.harness.long_form import LONG
from tests.harness.translation import cloudevent, definition, rows, usage_query

pytestmark = pytest.mark.thorough

TOKENS = oracle.Meter("tokens", "call", "SUM", "$.tokens", {"model": "$.model"})
MODELS = oracle.Meter("models", "call", "UNIQUE_COUNT", "$.model")
LAST = oracle.Meter("last", "call", "LATEST", "$.tokens", {"model": "$.model"})
# ClickHouse's defaults split a block at a million rows: only the longer run shows that INSERT_SETTINGS matter.
PIECE_ROWS = 1_200_000 if LONG else 150_000
QUESTIONS = (
    oracle.Query(window_size="MINUTE", group_by=("subject", "model")),
    oracle.Query(window_size="DAY", zone="America/New_York", group_by=("subject",)),
    oracle.Query(),
)


class Metering:
    """All parts of one metering process, driven step by step."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.now = utc_now()
        self.fold = oracle.Fold()
        self._directory = directory
        self.start()

    def start(self) -> None:
        """Do what a process does that has just started."""
        self.log = SqliteLog(self._directory / "log.sqlite", 1 << 30)
        self.registry = MeterRegistry(self.store, self.clock)
        stop = threading.Event()
        self.consumer = Consumer(self.log, self.store, IngestSettings(), stop, self.clock)
        self.consumer.start()

    def restart(self) -> None:
        self.log.close()
        self.start()

    def clock(self) -> datetime:
        return self.now

    def filler(self, segment_events: int = 500_000) -> Filler:
        settling = FillBarrier(self.consumer.unresolved, self.consumer.claims)
        return Filler(self.store, self.registry, settling, self.clock, segment_events)

    def append(self, events: Sequence[oracle.Event]) -> None:
        self.log.append([cloudevent(event) for event in events], milliseconds(self.now)).result()
        for event in events:
            self.fold.add(event)

    def take(self, events: Sequence[oracle.Event]) -> None:
        """Append events to the log, and store them as one batch."""
        self.append(events)
        self.drain()

    def drain(self) -> None:
        while self.log.lag().records:
            self.consumer.step()

    def pass_time(self, seconds: float = 5) -> None:
        self.now += timedelta(seconds=seconds)

    def create(self, meter: oracle.Meter) -> Meter:
        return self.registry.create(definition(meter))

    def state(self, meter: oracle.Meter) -> MeterState:
        return self.registry.find(meter.slug).state

    def check(self, meter: oracle.Meter) -> set[Grain]:
        """Compare the answers to a few queries with the fold. Return the grains that gave the answers."""
        stored, grains = self.registry.find(meter.slug), set[Grain]()
        for query in QUESTIONS:
            asked = query if meter.group_by else dataclasses.replace(query, group_by=())
            answer = query_json(self.store, stored, usage_query(asked).resolved(stored))
            assert rows(answer.rows) == self.fold.usage(meter, asked), (stored.state, query)
            grains |= set(answer.grains)
        return grains


@pytest.fixture
def metering(store: Store, tmp_path: Path) -> Iterator[Metering]:
    metering = Metering(store, tmp_path)
    yield metering
    metering.log.close()


def events(first: int, count: int, days: int = 3) -> list[oracle.Event]:
    """Return events over some days, some with unusual values, fixed by their numbers."""
    chance = random.Random(first)  # noqa: S311 - reproducible, not secret
    made = []
    for number in range(first, first + count):
        second = 1_761_980_000 + chance.randrange(days * 86_400)
        at = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{chance.randrange(1000):03d}Z"
        value = chance.choice(["1", "2.5", '"0.1"', "-3", "null", '"abc"', "1e3", "12345678901234567890"])
        data = f'{{"tokens":{value},"model":"m{chance.randrange(4)}"}}'
        made.append(oracle.Event(f"e{number}", "s", "call", f"u{chance.randrange(5)}", at, data))
    return made


@pytest.mark.parametrize("meter", [TOKENS, MODELS, LAST], ids=lambda meter: meter.slug)
def test_a_meter_created_after_its_events_answers_alike_in_every_state(metering: Metering, meter: oracle.Meter) -> None:
    metering.take(events(0, 80))
    metering.create(meter)
    filler = metering.filler()

    seen = [(metering.state(meter), metering.check(meter))]
    metering.pass_time()
    while filler.step():
        seen.append((metering.state(meter), metering.check(meter)))

    assert seen == [
        (MeterState.SETTLING, {"raw"}),
        (MeterState.FILLING, {"raw"}),
        (MeterState.FILLING, {"raw"}),
        (MeterState.READY, {"minute", "quarter", "day"}),
    ]


def test_a_meter_without_events_is_ready_after_two_steps(metering: Metering) -> None:
    metering.create(TOKENS)
    metering.pass_time()
    filler = metering.filler()

    assert [filler.step(), filler.step(), filler.step()] == [True, True, False]

    assert metering.state(TOKENS) is MeterState.READY
    assert metering.check(TOKENS) == {"minute", "quarter", "day"}


def test_a_fill_in_many_pieces_with_ingest_going_on_misses_nothing_and_doubles_nothing(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(TOKENS)
    filler = metering.filler(segment_events=7)
    metering.take(events(1000, 20))  # stamped before the views take over, so the fill writes them
    metering.pass_time()

    steps, number = 0, 2000
    while metering.state(TOKENS) is not MeterState.READY:
        filler.step()
        metering.take(events(number, 5) + events(number - 5, 2))  # for the views: other hours, old events, duplicates
        metering.check(TOKENS)
        metering.pass_time(0.01)
        steps, number = steps + 1, number + 5

    assert steps > 8
    assert metering.check(TOKENS) == {"minute", "quarter", "day"}
    assert metering.store.rows("SELECT count() FROM events") == [(len(metering.fold.events()),)]


def test_it_waits_until_its_views_are_due(metering: Metering) -> None:
    metering.take(events(0, 10))
    metering.create(TOKENS)
    metering.pass_time(LEAD.total_seconds() - 0.001)

    assert not metering.filler().step()
    assert metering.state(TOKENS) is MeterState.SETTLING

    metering.pass_time(0.001)
    assert metering.filler().step()
    assert metering.state(TOKENS) is MeterState.FILLING


def test_it_waits_while_a_batch_stamped_earlier_is_planned_and_goes_on_afterwards(metering: Metering) -> None:
    metering.take(events(0, 10))
    metering.append(events(100, 10))
    planned = metering.log.plan((Range(0, 11, 21),), milliseconds(metering.now))  # then the process dies
    metering.create(TOKENS)
    metering.pass_time(60)
    filler = metering.filler()

    assert [filler.step(), filler.step()] == [False, False]
    assert metering.state(TOKENS) is MeterState.SETTLING

    metering.restart()  # the next process makes a new plan: the old one was not claimed before the barrier
    metering.drain()
    filler = metering.filler()
    while filler.step():
        pass
    assert metering.state(TOKENS) is MeterState.READY
    assert metering.log.pending() == []
    assert metering.store.rows(f"SELECT count() FROM events WHERE stored_at = {_instant(planned)}") == [(10,)]
    metering.check(TOKENS)


def test_a_batch_stamped_after_the_views_took_over_holds_up_the_last_step_alone(metering: Metering) -> None:
    """R16b: the fill continues, but the rollup answers only when it contains the whole batch."""
    metering.take(events(0, 10))
    metering.create(TOKENS)
    metering.pass_time()
    metering.append(events(100, 10))
    metering.log.plan((Range(0, 11, 21),), milliseconds(metering.now))
    filler = metering.filler()

    while filler.step():
        pass
    assert metering.state(TOKENS) is MeterState.FILLING
    metering.restart()
    filler = metering.filler()
    while filler.step():
        pass

    assert metering.state(TOKENS) is MeterState.READY
    metering.check(TOKENS)


@pytest.mark.parametrize("restarted", [False, True], ids=["the same process", "the next process"])
def test_no_batch_is_stamped_before_the_views_once_the_fill_began_even_if_the_clock_is_set_back(
    metering: Metering, restarted: bool
) -> None:
    metering.take(events(0, 10))
    created = metering.create(TOKENS)
    metering.pass_time()
    metering.filler().step()
    metering.now -= timedelta(hours=1)
    if restarted:
        metering.restart()

    metering.take(events(100, 10))
    metering.pass_time(2 * 3600)
    filler = metering.filler()
    while filler.step():
        pass

    ((newest,),) = metering.store.rows("SELECT toUnixTimestamp64Milli(max(stored_at)) FROM events")
    assert newest == milliseconds(created.visible_from)
    metering.check(TOKENS)


def test_a_fill_cut_off_between_a_piece_and_its_record_does_not_double_it(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(TOKENS)
    metering.pass_time()
    dying = metering.filler(segment_events=20)
    dying.step()
    dying.step()
    meter = metering.registry.find("tokens")
    end = dying._next_segment_end(meter)
    assert end is not None
    metering.store.command(dying._fill_statement(meter, meter.filled_to, end))  # killed before the registry is updated

    metering.restart()
    metering.take(events(1000, 10))
    filler = metering.filler(segment_events=20)
    while filler.step():
        pass

    assert metering.state(TOKENS) is MeterState.READY
    metering.check(TOKENS)


def test_the_next_process_cuts_the_piece_as_the_dead_one_did(metering: Metering) -> None:
    """Events that were stored since do not belong to the fill, so its segments are the same."""
    metering.take(events(0, 60))
    metering.create(TOKENS)
    metering.pass_time()
    filler = metering.filler(segment_events=20)
    filler.step()
    meter = metering.registry.find("tokens")
    before = filler._next_segment_end(meter)

    metering.take(events(1000, 300))

    assert metering.filler(segment_events=20)._next_segment_end(meter) == before


def test_a_piece_is_one_part_in_each_table_however_often_it_is_tried(metering: Metering) -> None:
    columns = "id, source, type, subject, time, data, arrived_at, stored_at, log_partition, log_offset, key"
    metering.store.command(
        f"INSERT INTO events ({columns}) SELECT toString(number), 's', 'call', concat('u', toString(number)), "
        "toDateTime64('2025-11-01 00:00:00', 3, 'UTC') + number % 3600, '{\"tokens\":1,\"model\":\"m\"}', "
        f"now64(3), now64(3) - 60, 0, number, MD5(toString(number)) FROM numbers({PIECE_ROWS})"
    )
    created = metering.create(TOKENS)
    metering.pass_time()
    filler = metering.filler()
    filler.step()
    meter = metering.registry.find("tokens")
    end = filler._next_segment_end(meter)
    assert end is not None

    for _ in range(2):
        metering.store.command(filler._fill_statement(meter, meter.filled_to, end))

    names = ", ".join(f"'{created.table(grain)}'" for grain in GRAINS)
    parts = metering.store.rows(
        "SELECT table, max(max_block_number), sum(rows) FROM system.parts "
        f"WHERE active AND database = currentDatabase() AND table IN ({names}) GROUP BY table"
    )
    assert sorted(parts) == sorted((created.table(grain), 1, PIECE_ROWS) for grain in GRAINS)
    assert metering.store.rows(f"SELECT sum(total) FROM {created.table('day')}") == [(PIECE_ROWS,)]


def test_a_process_that_was_paused_before_a_piece_does_not_insert_it_late(
    metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the meantime another process has filled the segment, and the tables have forgotten its token."""
    metering.take(events(0, 60))
    meter = metering.create(TOKENS)
    metering.pass_time()
    paused, other = metering.filler(), metering.filler()
    paused.step()  # passes the barrier
    next_end = Filler._next_segment_end

    def pause(filler: Filler, of: Meter) -> datetime | None:
        end = next_end(filler, of)
        monkeypatch.undo()
        while other.step():
            pass
        forget = "MODIFY SETTING non_replicated_deduplication_window = 0"
        metering.store.command(f"ALTER TABLE {meter.table('minute')} {forget}")
        return end

    monkeypatch.setattr(Filler, "_next_segment_end", pause)
    while paused.step():
        pass

    assert metering.state(TOKENS) is MeterState.READY
    metering.check(TOKENS)


def test_a_meter_deleted_while_it_fills_is_left_alone(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(TOKENS)
    metering.create(MODELS)
    metering.pass_time()
    filler = metering.filler(segment_events=5)
    filler.step()
    filler.step()

    metering.registry.delete("tokens")
    while filler.step():
        pass

    assert metering.state(MODELS) is MeterState.READY
    tables = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE 'meter_tokens%'"
    assert metering.store.rows(tables) == [(0,)]
    metering.check(MODELS)


def test_a_meter_deleted_by_another_process_is_given_up_as_soon_as_that_is_seen(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(TOKENS)
    metering.pass_time()
    filler = metering.filler(segment_events=5)
    filler.step()
    filler.step()

    MeterRegistry(metering.store, metering.clock).delete("tokens")

    assert not filler.step()
    assert metering.registry.all() == []


def test_a_meter_changed_while_it_fills_is_filled_anew(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(MODELS)
    metering.pass_time()
    filler = metering.filler(segment_events=5)
    filler.step()
    filler.step()
    half = metering.registry.find("models")
    changed = dataclasses.replace(MODELS, group_by={"kind": "$.tokens"})

    metering.registry.update("models", lambda _: definition(changed))
    metering.take(events(1000, 10))
    metering.pass_time()
    while filler.step():
        pass

    ready = metering.registry.find("models")
    assert ready.state is MeterState.READY
    assert ready.rollup != half.rollup
    assert half.filled_to > datetime(1970, 1, 1, tzinfo=UTC)
    query = oracle.Query(window_size="HOUR", group_by=("kind",))
    answer = query_json(metering.store, ready, usage_query(query).resolved(ready))
    assert rows(answer.rows) == metering.fold.usage(changed, query)


@pytest.mark.parametrize("from_", ["2025-11-02T06:30:00+00:00", "2025-11-02T06:30:15.250+00:00"])
def test_events_before_a_meters_start_do_not_count_in_any_state(metering: Metering, from_: str) -> None:
    meter = dataclasses.replace(TOKENS, event_from=datetime.fromisoformat(from_))
    metering.take(events(0, 200))
    metering.create(meter)
    metering.check(meter)
    metering.pass_time()
    filler = metering.filler()

    while filler.step():
        metering.check(meter)
    metering.take(events(1000, 50))

    assert metering.state(meter) is MeterState.READY
    assert {"minute", "quarter", "day"} <= metering.check(meter)
    assert len(metering.fold.usage(meter, QUESTIONS[0])) < len(metering.fold.usage(TOKENS, QUESTIONS[0]))


def _instant(plan: Plan) -> str:
    return f"fromUnixTimestamp64Milli({plan.stored_ms}, 'UTC')"
