"""A fill that is cut off, paused or tried again writes each segment once."""

from datetime import datetime

import pytest

from engine.meters.fill import Filler
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import GRAINS
from tests.engine.meters.conftest import TOKENS, Metering, events
from tests.harness.long_form import LONG

pytestmark = pytest.mark.thorough

# ClickHouse's defaults split a block at a million rows: only the longer run shows that INSERT_SETTINGS matter.
PIECE_ROWS = 1_200_000 if LONG else 150_000


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
