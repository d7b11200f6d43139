"""The life of a meter: created, changed and deleted, also if a process dies in between and the next one continues."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from engine.errors import Conflict, InvalidMeter, NotFound
from engine.events.event import Event, event_block, event_key
from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.fill import Filler
from engine.meters.meter import Meter, MeterState, rollup_name
from engine.meters.registry import CREATION_GRACE, LEAD, MeterRegistry
from engine.meters.rollups import create_rollup
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


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def registry(store: Store, clock: SetClock) -> MeterRegistry:
    return MeterRegistry(store, clock)


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


# --- creation ---------------------------------------------------------------------------------------------------------


def test_a_meter_is_created_with_its_tables_and_views(store: Store, registry: MeterRegistry) -> None:
    meter = registry.create(parse_definition(SUM | {"groupBy": {"model": "$.model"}}))

    assert (meter.slug, meter.state, meter.created_at, meter.filled_to) == ("tokens", MeterState.SETTLING, NOON, EPOCH)
    assert meter.visible_from == NOON + timedelta(seconds=2)
    found = store.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'meter%'")
    assert {name for (name,) in found} - {"meters"} == {
        f"{meter.rollup}_{grain}{view}" for grain in ("minute", "quarter", "day") for view in ("", "_view")
    }


def test_what_the_fill_leaves_to_the_views_they_take(store: Store, registry: MeterRegistry, clock: SetClock) -> None:
    """This holds even if a clock is finer than the stamps: fill and views meet within one millisecond."""
    clock.at = NOON + timedelta(microseconds=700)
    meter = registry.create(parse_definition(SUM))

    put(store, 1, 5, meter.visible_from)  # rounded down to milliseconds, as the stamps of batches are
    put(store, 2, 7, meter.visible_from - timedelta(milliseconds=1))
    make_ready(store, registry, clock)

    assert answer(store, registry.find("tokens")) == {(): Decimal(12)}


def test_a_slug_is_used_once(registry: MeterRegistry) -> None:
    registry.create(parse_definition(SUM))

    with pytest.raises(Conflict, match="meter with the same slug already exists"):
        registry.create(parse_definition(SUM | {"aggregation": "MAX"}))

    assert [meter.definition.aggregation for meter in registry.all()] == ["SUM"]


ACCEPTED = [
    *("$", "$.a", "$.a.b", "$['a']", '$["a"]', '$."a b"', "$.a_b", "$.1a", "$.$a", "$.a.0", "$.a[0]", "$.a[*]", "$[*]"),
    *("$.a[0 to 1]", "$['it\\'s']", "$['{x:String}']", "$['%s']"),
    *("$.a[0 to 1000]", "$[0, 5 to 9]['b']", "$['it\\'s [0 to 5000]']", '$."[x]"[999999999]'),
]
REFUSED = ["$.", "$a", "$.a.", "$..a", "$.*", "$.a[?(@.b)]", "$'; DROP TABLE x; --"]
QUOTABLE = {
    "$.a-b": "$['a-b']",
    "$.a b": "$['a b']",
    "$.ä": "$['ä']",
    "$.@type": "$['@type']",
    "$.usage.prompt tokens": "$.usage['prompt tokens']",
    "$.lineItem/UsageAmount[0].x:y.z": "$['lineItem/UsageAmount'][0]['x:y'].z",
    "$.cost, total": "$['cost, total']",
}


def test_every_json_path_the_contract_names_makes_a_meter(store: Store, registry: MeterRegistry) -> None:
    for number, path in enumerate(ACCEPTED):
        body = SUM | {"slug": f"m{number}", "valueProperty": path, "groupBy": {"k": "$.k"}}
        registry.create(parse_definition(body))
    put(store, 1, 1, NOON + timedelta(days=1))

    assert len(registry.all()) == len(ACCEPTED)
    assert store.rows("SELECT count() FROM events") == [(1,)]  # no view raises an error


@pytest.mark.parametrize("where", ["valueProperty", "groupBy"])
def test_a_path_the_engine_does_not_take_is_refused_and_leaves_nothing(
    store: Store, registry: MeterRegistry, where: str
) -> None:
    for path in REFUSED:
        body = SUM | ({"valueProperty": path} if where == "valueProperty" else {"groupBy": {"k": path}})

        with pytest.raises(InvalidMeter) as refused:
            registry.create(parse_definition(body))

        assert str(refused.value) == f"invalid JSONPath: {path}"
    assert (registry.all(), rollups(store)) == ([], set())


def test_a_path_whose_names_lack_quotes_is_refused_with_the_path_to_write(
    store: Store, registry: MeterRegistry
) -> None:
    """N32: the proposed path counts what the user meant."""
    for path, proposed in QUOTABLE.items():
        with pytest.raises(InvalidMeter) as refused:
            registry.create(parse_definition(SUM | {"valueProperty": path}))

        assert str(refused.value) == f"invalid JSONPath: {path}; write {proposed}"
    data = '{"usage":{"prompt tokens":7},"lineItem/UsageAmount":[{"x:y":{"z":8}}]}'
    proposals = [proposed for proposed in QUOTABLE.values() if proposed.startswith(("$.usage", "$['lineItem"))]
    rows = [store.rows(f"SELECT JSON_VALUE({{data:String}}, '{text}')", data=data) for text in map(_quoted, proposals)]
    assert rows == [[("7",)], [("8",)]]


def _quoted(path: str) -> str:
    return path.replace("'", "\\'")


@pytest.mark.parametrize(
    "path",
    [
        *("$.a[0 to 4000000000].b", "$.a[0 to 1001]", "$.a[0 TO 1000, 2000]", "$.a[0 to 39][0 to 39]"),
        *("$.a[4294967296]", "$.a[0x10]"),
    ],
)
def test_a_path_whose_indexes_would_hold_up_ingest_or_wrap_around_is_refused(
    registry: MeterRegistry, path: str
) -> None:
    with pytest.raises(InvalidMeter, match="invalid JSONPath"):
        registry.create(parse_definition(SUM | {"valueProperty": path}))

    assert registry.all() == []


@pytest.mark.parametrize("path", ["", "abc", "a.b"])
def test_a_path_that_does_not_start_with_the_root_is_no_definition(path: str) -> None:
    with pytest.raises(InvalidMeter):
        parse_definition(SUM | {"valueProperty": path})


def test_views_that_stand_too_late_are_made_anew(store: Store, registry: MeterRegistry, clock: SetClock) -> None:
    late = NOON + timedelta(milliseconds=1501)
    # The views exist only 499 ms before they take over, so they might miss an event.
    clock.next = [NOON, NOON, late, late]
    clock.at = late

    meter = registry.create(parse_definition(SUM))

    assert (meter.state, meter.created_at) == (MeterState.SETTLING, NOON)
    assert meter.visible_from > late + LEAD
    assert rollups(store) == {meter.rollup}


def test_views_that_stand_just_in_time_are_kept(registry: MeterRegistry, clock: SetClock) -> None:
    clock.next = [NOON, NOON, NOON + timedelta(milliseconds=1500)]

    meter = registry.create(parse_definition(SUM))

    assert meter.visible_from == NOON + LEAD


def test_views_are_too_late_as_well_for_a_stamp_ahead_of_the_clock(
    store: Store, registry: MeterRegistry, clock: SetClock
) -> None:
    """Another process, whose clock is ahead, stores a batch while the views are created."""
    ahead = NOON + timedelta(minutes=5)

    class Overtaken(MeterRegistry):
        stored = False

        def _build(self, meter: Meter) -> Meter:
            if not self.stored:
                self.stored = True
                put(store, 1, 5, ahead)
            return super()._build(meter)

    registry = Overtaken(store, clock)

    meter = registry.create(parse_definition(SUM))

    assert meter.visible_from > ahead + LEAD
    clock.at = ahead + LEAD
    make_ready(store, registry, clock)
    assert answer(store, registry.find("tokens")) == {(): Decimal(5)}


def test_views_that_are_always_late_stand_in_the_end(store: Store) -> None:
    """In this store, creating six tables takes longer than the lead."""

    class Slow(SetClock):
        def __call__(self) -> datetime:
            self.at += timedelta(seconds=5)
            return self.at

    registry = MeterRegistry(store, Slow())

    meter = registry.create(parse_definition(SUM))

    assert meter.state is MeterState.SETTLING
    assert rollups(store) == {meter.rollup}


def test_a_meter_is_visible_after_the_newest_stamp_if_the_clock_was_set_back(
    store: Store, registry: MeterRegistry, clock: SetClock
) -> None:
    ahead = NOON + timedelta(hours=3)
    put(store, 1, 5, ahead)

    meter = registry.create(parse_definition(SUM))

    assert meter.visible_from == ahead + LEAD
    put(store, 2, 7, ahead + LEAD)  # for the views
    clock.at = ahead
    make_ready(store, registry, clock)
    assert answer(store, registry.find("tokens")) == {(): Decimal(12)}


# --- change and deletion ----------------------------------------------------------------------------------------------


def test_a_change_of_display_keeps_the_rollup(store: Store, registry: MeterRegistry, clock: SetClock) -> None:
    put(store, 1, 5, NOON)
    created = registry.create(parse_definition(SUM))
    make_ready(store, registry, clock)
    clock.at += timedelta(hours=1)

    changed = registry.update(
        "tokens", lambda _: parse_definition(SUM | {"name": "Tokens", "description": "All of them"})
    )

    assert (changed.id, changed.rollup, changed.state) == (created.id, created.rollup, MeterState.READY)
    assert (changed.definition.name, changed.definition.description) == ("Tokens", "All of them")
    assert (changed.created_at, changed.updated_at) == (NOON, clock.at)
    assert answer(store, changed) == {(): Decimal(5)}


def test_a_change_of_group_by_is_a_new_rollup_that_answers_right_at_once_and_when_filled(
    store: Store, registry: MeterRegistry, clock: SetClock
) -> None:
    put(store, 1, 5, NOON, model="a")
    put(store, 2, 7, NOON, model="b")
    created = registry.create(parse_definition(SUM))
    make_ready(store, registry, clock)
    put(store, 3, 11, clock.at, model="b")  # through the views of the first rollup

    changed = registry.update(created.id, lambda _: parse_definition(SUM | {"groupBy": {"model": "$.model"}}))

    by_model = {("a",): Decimal(5), ("b",): Decimal(18)}
    assert (changed.id, changed.state) == (created.id, MeterState.SETTLING)
    assert answer(store, changed, "model") == by_model
    assert rollups(store) == {changed.rollup} != {created.rollup}
    make_ready(store, registry, clock)
    ready = registry.find("tokens")
    assert (ready.state, ready.rollup) == (MeterState.READY, changed.rollup)
    assert answer(store, ready, "model") == by_model


def test_a_change_is_refused_like_a_creation(registry: MeterRegistry) -> None:
    created = registry.create(parse_definition(SUM))

    with pytest.raises(InvalidMeter):
        registry.update("tokens", lambda _: parse_definition(SUM | {"groupBy": {"k": "$..k"}}))
    with pytest.raises(NotFound):
        registry.update("nothing", lambda _: parse_definition(SUM))

    assert registry.find("tokens") == created


def test_a_deleted_meter_loses_its_tables_keeps_its_events_and_frees_its_slug(
    store: Store, registry: MeterRegistry, clock: SetClock
) -> None:
    put(store, 1, 5, NOON)
    first = registry.create(parse_definition(SUM))
    make_ready(store, registry, clock)

    registry.delete("tokens")

    assert rollups(store) == set()
    assert store.rows("SELECT count() FROM events") == [(1,)]
    assert registry.find(first.id).deleted_at == clock.at
    with pytest.raises(NotFound, match="meter not found: tokens"):
        registry.find("tokens")
    second = registry.create(parse_definition(SUM))
    make_ready(store, registry, clock)
    assert second.id != first.id
    assert answer(store, registry.find("tokens")) == {(): Decimal(5)}


def test_a_slug_is_free_again_however_often_its_meter_is_deleted(registry: MeterRegistry) -> None:
    for _ in range(5):
        registry.create(parse_definition(SUM))
        registry.delete("tokens")

    assert registry.all() == []


def test_deleting_again_works_by_id_and_not_by_slug(registry: MeterRegistry) -> None:
    meter = registry.create(parse_definition(SUM))
    registry.delete(meter.id)
    deleted = registry.find(meter.id)

    registry.delete(meter.id)

    assert registry.find(meter.id) == deleted
    with pytest.raises(NotFound):
        registry.delete("tokens")
    with pytest.raises(NotFound):
        registry.update(meter.id, lambda _: parse_definition(SUM))


def test_a_meter_is_found_by_slug_and_by_id_in_any_case(registry: MeterRegistry) -> None:
    meter = registry.create(parse_definition(SUM))

    assert registry.find("tokens") == meter
    assert registry.find(meter.id) == meter
    assert registry.find(meter.id.lower()) == meter
    for name in ("TOKENS", "token", "", meter.id[:-1]):
        with pytest.raises(NotFound, match=f"meter not found: {name}"):
            registry.find(name)


def test_meters_are_listed_oldest_first_deleted_ones_when_asked(registry: MeterRegistry, clock: SetClock) -> None:
    for slug in ("b", "a", "c"):
        registry.create(parse_definition(SUM | {"slug": slug}))
        clock.at += timedelta(seconds=1)
    registry.delete("a")

    assert [meter.slug for meter in registry.all()] == ["b", "c"]
    assert [meter.slug for meter in registry.all(include_deleted=True)] == ["b", "a", "c"]
    assert [meter.slug for meter in registry.of_type("call")] == ["b", "c"]
    assert registry.of_type("other") == []


# --- what a dead process leaves ---------------------------------------------------------------------------------------


def half_created(registry: MeterRegistry, slug: str = "tokens") -> Meter:
    """Register a meter as `create` does before it creates tables, where the process dies."""
    definition = parse_definition(SUM | {"slug": slug})
    visible_from = NOON + LEAD
    meter = Meter(
        f"01JNJ0000000000000000000{len(slug):02}", 1, definition, MeterState.CREATING,
        rollup_name(definition, visible_from), visible_from, EPOCH, NOON, NOON,
    )  # fmt: skip
    return registry._write(meter)


@pytest.mark.parametrize("tables_stand", [False, True])
def test_a_creation_that_was_cut_short_is_done_anew(store: Store, clock: SetClock, tables_stand: bool) -> None:
    put(store, 1, 5, NOON)
    left = half_created(MeterRegistry(store, clock))
    if tables_stand:
        create_rollup(store, left)
    registry = MeterRegistry(store, clock)  # the next process
    put(store, 2, 7, NOON + LEAD + timedelta(seconds=1))
    clock.at = NOON + timedelta(minutes=1)

    registry.resume_creation()

    resumed = registry.find("tokens")
    assert (resumed.id, resumed.state, resumed.visible_from) == (left.id, MeterState.SETTLING, clock.at + LEAD)
    assert rollups(store) == {resumed.rollup} != {left.rollup}
    assert answer(store, resumed) == {(): Decimal(12)}
    make_ready(store, registry, clock)
    assert answer(store, registry.find("tokens")) == {(): Decimal(12)}


def test_a_creation_that_may_still_be_under_way_is_left_alone(store: Store, clock: SetClock) -> None:
    registry = MeterRegistry(store, clock)
    left = half_created(registry)
    clock.at = left.visible_from + timedelta(seconds=1)

    registry.resume_creation()

    assert registry.find("tokens") == left


def test_a_meter_half_created_answers_from_the_events(store: Store, registry: MeterRegistry) -> None:
    put(store, 1, 5, NOON)

    left = half_created(registry)

    assert answer(store, left) == {(): Decimal(5)}


def test_rollups_no_meter_answers_from_are_dropped_at_start(store: Store, clock: SetClock) -> None:
    registry = MeterRegistry(store, clock)
    kept = registry.create(parse_definition(SUM))
    deleted = registry.create(parse_definition(SUM | {"slug": "gone"}))
    registry._write(dataclasses.replace(deleted, state=MeterState.DELETED))  # died before it dropped the tables
    create_rollup(store, dataclasses.replace(kept, rollup="meter_tokens_0123abcd"))  # died after the tables of a change
    store.command("DROP TABLE meter_tokens_0123abcd_quarter")
    store.command("CREATE TABLE meter_reports (n Int64) ENGINE = MergeTree ORDER BY n")  # a table of another program

    MeterRegistry(store, clock).drop_orphans()

    assert rollups(store) == {kept.rollup, "meter"}
    assert store.rows("SELECT count() FROM meter_reports") == [(0,)]
    put(store, 1, 5, NOON + LEAD)
    assert store.rows(f"SELECT sum(total) FROM {kept.table('day')}") == [(Decimal(5),)]


# --- stamps and several processes -------------------------------------------------------------------------------------


def test_how_far_a_fill_came_is_not_recorded_for_a_meter_that_changed_or_went(registry: MeterRegistry) -> None:
    before = registry.create(parse_definition(SUM))
    changed = registry.update("tokens", lambda _: parse_definition(SUM | {"groupBy": {"model": "$.model"}}))

    assert registry.advance(before, MeterState.READY, NOON) is None
    assert registry.find("tokens") == changed
    registry.delete("tokens")
    assert registry.advance(changed, MeterState.READY, NOON) is None
    assert registry.find(changed.id).state is MeterState.DELETED


def test_two_processes_see_each_others_meters(store: Store, clock: SetClock) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)
    created = one.create(parse_definition(SUM))

    with pytest.raises(NotFound):
        other.find("tokens")
    with pytest.raises(Conflict):  # a writer reads before it writes
        other.create(parse_definition(SUM))
    changed = other.update("tokens", lambda _: parse_definition(SUM | {"name": "Tokens"}))
    assert changed.version > one.find("tokens").version == created.version
    one.refresh()
    assert one.find("tokens") == changed
    other.delete("tokens")
    one.refresh()
    assert one.all() == []


@pytest.mark.parametrize("deleted_before", [False, True])
def test_of_two_processes_that_make_one_slug_at_the_same_moment_one_does(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch, deleted_before: bool
) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)
    if deleted_before:
        one.create(parse_definition(SUM))
        one.delete("tokens")
    at_the_row, made = threading.Barrier(2, timeout=30), []
    insert_rows = Store.insert_rows

    def insert_together(*arguments: object) -> None:  # by now both processes have seen that the slug is free
        at_the_row.wait()
        insert_rows(*arguments)  # type: ignore[arg-type]

    def make(registry: MeterRegistry) -> None:
        with contextlib.suppress(Conflict):
            made.append(registry.create(parse_definition(SUM)))

    with monkeypatch.context() as patched:
        patched.setattr(Store, "insert_rows", insert_together)
        patched.setattr(MeterRegistry, "_build", lambda _, meter: meter)
        makers = [threading.Thread(target=make, args=(registry,)) for registry in (one, other)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join(60)

    assert [meter.id for meter in made] == [meter.id for meter in MeterRegistry(store, clock).all()]
    assert len(made) == 1


def test_an_older_picture_does_not_replace_a_newer_one(
    registry: MeterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older snapshot is that of the refresh thread, which read the table before a meter was written to it."""
    rows, read = Store.rows, threading.Event()

    def linger(store: Store, statement: str, **parameters: object) -> object:
        found = rows(store, statement, **parameters)
        if threading.current_thread() is refresher:
            read.set()
            time.sleep(0.5)
        return found

    refresher = threading.Thread(target=registry.refresh)
    monkeypatch.setattr(Store, "rows", linger)
    refresher.start()
    assert read.wait(10)
    created = registry.create(parse_definition(SUM))
    refresher.join()

    assert registry.all() == [created]


def test_a_token_left_by_a_row_that_was_lost_keeps_no_slug(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ClickHouse server died between the token and the part: the row is lost, so the meter was not created."""
    lost = MeterRegistry(store, clock)
    monkeypatch.setattr(MeterRegistry, "_build", lambda _, meter: meter)
    lost.create(parse_definition(SUM))
    store.command("ALTER TABLE meters DELETE WHERE true SETTINGS mutations_sync = 1")

    created = MeterRegistry(store, clock).create(parse_definition(SUM))

    assert [meter.id for meter in MeterRegistry(store, clock).all()] == [created.id]


def test_a_meter_deleted_while_another_process_makes_its_tables_stays_deleted(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)

    def make_and_be_overtaken(store: Store, meter: Meter) -> None:
        create_rollup(store, meter)
        monkeypatch.undo()
        other.refresh()
        other.delete("tokens")

    monkeypatch.setattr("engine.meters.registry.create_rollup", make_and_be_overtaken)
    created = one.create(parse_definition(SUM))

    assert created.state is MeterState.DELETED
    assert MeterRegistry(store, clock).all() == []
    assert rollups(store) <= {"meter"}


def test_a_meter_made_anew_by_another_process_meanwhile_has_the_other_ones_tables(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)

    def make_and_be_overtaken(store: Store, meter: Meter) -> None:
        create_rollup(store, meter)
        monkeypatch.undo()
        clock.at += LEAD + CREATION_GRACE + timedelta(seconds=1)
        other.refresh()
        other.resume_creation()

    monkeypatch.setattr("engine.meters.registry.create_rollup", make_and_be_overtaken)
    created = one.create(parse_definition(SUM))

    assert created == other.find("tokens")
    assert created.state is MeterState.SETTLING
    assert rollups(store) >= {created.rollup}


def test_what_a_user_asked_for_outlasts_a_step_another_process_takes_at_the_same_moment(
    store: Store, clock: SetClock
) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)
    created = one.create(parse_definition(SUM))
    other.refresh()
    one.delete("tokens")

    other._write(dataclasses.replace(created, state=MeterState.FILLING))  # it read before the deletion was written

    assert MeterRegistry(store, clock).all() == []


def test_a_meter_comes_back_from_the_store_as_it_was(store: Store, clock: SetClock) -> None:
    body = SUM | {
        "name": "Tokens „ü“",
        "description": "it's \\ 'quoted'\n",
        "eventFrom": "2025-01-01T00:00:00.123456+05:45",
        "groupBy": {"b": "$['it\\'s']", "a": "$.a"},
        "metadata": {"plan": "gold", "ü": ""},
    }
    created = MeterRegistry(store, clock).create(parse_definition(body))

    assert MeterRegistry(store, clock).find("tokens") == created


@pytest.fixture(autouse=True)
def _no_rollup_is_left_behind(store: Store) -> Iterator[None]:
    """Return whether each live meter has its tables, and each table its meter."""
    yield
    registry = MeterRegistry(store)
    built = {meter.rollup for meter in registry.all() if meter.state is not MeterState.CREATING}
    assert rollups(store) - {"meter"} == built
