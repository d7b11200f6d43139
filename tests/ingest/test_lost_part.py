"""A kill between ClickHouse's two writes, on a real store: the token is logged, but its part is missing.

The state is made from a store that was stopped after an insert, by removing the newest part of one table. That is what
`strace -e inject=rename:signal=SIGKILL` leaves. chDB accepts one path per process, so each step is a separate process.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.store.deduplication_logs import repair_deduplication_logs
from tests.harness.preloaded import ROOT

_STEP = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from engine.store import opening as stores
from engine.instants import milliseconds, utc_now
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.store.migrations import migrate
from engine.meters.rollups import GRAINS, create_rollup
from engine.config.loading import load_settings
from engine.config.settings import IngestSettings
from tests.harness.translation import cloudevent
from tests.harness import oracle

if "unmended" in sys.argv:
    stores.repair_deduplication_logs = lambda path: []
settings = load_settings(overrides={"data_dir": Path(sys.argv[1])})
store = stores.open_store(settings)
store.command("SYSTEM STOP MERGES")  # a part is one block
migrate(store, settings)
early = datetime(1970, 1, 1, tzinfo=UTC)
definition = parse_definition({"slug": "m", "eventType": "t", "aggregation": "COUNT"})
meter = Meter("1", 1, definition, MeterState.READY, "meter_m_00000000", early, early, early, early)
create_rollup(store, meter)
now = milliseconds(utc_now())
for token in ("first", "second"):
    values = [cloudevent(oracle.Event(f"{token}{n}", "s", "t", "u", "2026-01-01T00:00:00Z")) for n in range(10)]
    span = TimeSpan.of(IngestSettings())
    events = [decode_event(value, now, 0, n, span) for n, value in enumerate(values)]
    store.insert_block("events", event_block(events, now), token)
places = dict(store.rows("SELECT name, data_paths[1] FROM system.tables WHERE database = currentDatabase()"))
counts = {name: store.rows(f"SELECT count() FROM {name}")[0][0] for name in ("events", "event_keys")}
counts |= {grain: store.rows(f"SELECT sum(n) FROM {meter.table(grain)}")[0][0] for grain in GRAINS}
print(json.dumps({"counts": counts, "places": {name: places[name] for name in ("events", "event_keys")}
    | {grain: places[meter.table(grain)] for grain in GRAINS}}))
store.close()
"""
TABLES = ["events", "event_keys", "minute", "quarter", "day"]


def _step(directory: Path, *arguments: str) -> dict[str, Any]:
    step = subprocess.run(
        [sys.executable, "-c", _STEP, str(directory), *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(step.stdout)
    return result


def _take_part_away(table: Path, place: int = -1) -> None:
    """Remove the part of a table's newest block, or of another block by its place in the order."""
    parts = [part for part in table.iterdir() if part.name.count("_") == 3 and part.is_dir()]
    shutil.rmtree(sorted(parts, key=lambda part: int(part.name.split("_")[2]))[place])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    directory = tmp_path_factory.mktemp("lost") / "data"
    return directory, _step(directory)["places"]


@pytest.mark.parametrize("table", TABLES)
def test_the_retry_completes_the_table(stored: tuple[Path, dict[str, str]], table: str) -> None:
    directory, places = stored
    _take_part_away(Path(places[table]))

    assert _step(directory)["counts"] == dict.fromkeys(TABLES, 20)


@pytest.mark.parametrize("table", ["events", "minute"])
def test_the_retry_completes_the_table_though_a_later_block_is_in_place(
    stored: tuple[Path, dict[str, str]], table: str
) -> None:
    """A fill and a batch are inserted in parallel, so the block without its part may have the lower number."""
    directory, places = stored
    _take_part_away(Path(places[table]), place=0)

    assert _step(directory)["counts"] == dict.fromkeys(TABLES, 20)


def test_without_mending_the_retry_is_skipped_and_usage_is_lost(stored: tuple[Path, dict[str, str]]) -> None:
    """The guard is necessary. If this test fails one day, ClickHouse no longer needs the repair."""
    directory, places = stored
    _take_part_away(Path(places["minute"]))

    assert _step(directory, "unmended")["counts"] == dict.fromkeys(TABLES, 20) | {"minute": 10}


def test_a_token_logged_without_its_part_is_mended_so_that_the_retry_completes_the_table(tmp_path: Path) -> None:
    """The state after a kill between ClickHouse's log write and its rename, as seen with strace; made by hand here."""
    store = tmp_path / "store"
    for name, parts, tokens in (
        ("whole", ["all_1_1_0", "all_2_2_1"], ["all_1_1_0", "all_2_2_1"]),
        ("lost", ["202601_1_1_0", "202602_2_2_0"], ["202601_1_1_0", "202602_2_2_0", "202601_3_3_0"]),
        ("merged", ["all_1_3_1"], ["all_1_1_0", "all_2_2_0", "all_3_3_0"]),
        ("empty", [], ["all_1_1_1"]),
        ("beside", ["all_1_1_0", "all_3_3_0"], ["all_1_1_0", "all_2_2_0", "all_3_3_0"]),
    ):
        table = store / "store" / name[:3] / name
        for part in parts:
            (table / part).mkdir(parents=True)
        (table / "tmp_insert_all_9_9_0").mkdir(parents=True)
        (table / "deduplication_logs").mkdir()
        lines = "".join(f"1\t{part}\tblock_{at}\n" for at, part in enumerate(tokens))
        cut_off = "1" if name == "beside" else "1\tall_4"
        (table / "deduplication_logs" / "deduplication_log_1.txt").write_text(lines + cut_off)

    mended = repair_deduplication_logs(store)

    logs = {path.parents[1].name: path.read_text() for path in store.glob("store/*/*/deduplication_logs/*.txt")}
    assert [line.split("\t")[1] for line in logs["lost"].splitlines()] == ["202601_1_1_0", "202602_2_2_0"]
    assert len(logs["whole"].splitlines()) == 2
    assert len(logs["merged"].splitlines()) == 3
    assert logs["empty"] == ""
    assert "lost: 202601_3_3_0" in mended
    assert [line.split("\t")[1] for line in logs["beside"].splitlines()] == ["all_1_1_0", "all_3_3_0"]
    assert "beside: cut off" in mended
    shutil.rmtree(store)
