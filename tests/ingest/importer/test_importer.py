"""The import of a whole file: invalid rows, batches, saved positions, and runs that were killed."""

import csv
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import ConfigurationError, InvalidRequest
from engine.events.outcome import EventName, Outcome
from ingest.importer import importer as importing
from ingest.importer import ledger
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from ingest.importer.importer import Importer
from ingest.importer.positions import ImportPosition, PositionFile
from ingest.importer.summary import Uncounted, summary
from tests.harness.command import meterport
from tests.ingest.importer.file_events import EVENTS, lines
from tests.ingest.importer.list_sink import ListSink
from tests.ingest.importer.written_files import Write, write

__all__ = ["write"]  # a fixture of another file


def run(path: Path, sink: ListSink, directory: Path, **options: Any) -> ImportPosition:
    file = EventFile(path, None, options.pop("mapping", ColumnMapping()))
    restart = options.pop("restart", False)
    return Importer(sink, PositionFile(directory, file, ColumnMapping()), **options).run(file, restart)


def test_an_invalid_row_ends_the_import_behind_the_rows_before_it(write: Write, tmp_path: Path) -> None:
    path, sink = write("events.ndjson", lines("1", "2") + "nonsense\n" + lines("3")), ListSink()

    with pytest.raises(InvalidRequest, match=r"events\.ndjson: row 3: not a JSON object"):
        run(path, sink, tmp_path)

    assert sink.ids == ["1", "2"]


def test_a_row_the_engine_refuses_ends_the_import_too(write: Write, tmp_path: Path) -> None:
    path = write("events.ndjson", lines("1", "2", "bad", "3", "bad"))
    sink = ListSink(refuse=lambda event: "id is bad" if event["id"] == "bad" else None)

    with pytest.raises(InvalidRequest, match=r"events\.ndjson: row 3: id is bad"):
        run(path, sink, tmp_path)

    assert sink.ids == ["1", "2"]


def test_invalid_rows_are_left_out_and_told(write: Write, tmp_path: Path) -> None:
    path = write("events.ndjson", lines("1", "bad", "2") + "nonsense\n" + lines("3"))
    sink = ListSink(refuse=lambda event: "id is bad" if event["id"] == "bad" else None)
    told: dict[int, str] = {}

    position = run(path, sink, tmp_path, on_skip=told.__setitem__)

    assert sink.ids == ["1", "2", "3"]
    assert told == {2: "id is bad", 4: "not a JSON object"}
    assert position == ImportPosition(row=5, read=5, stored=3, skipped=2)


def test_a_batch_that_is_too_long_is_halved(write: Write, tmp_path: Path) -> None:
    long_line = lines("long").replace('"u"', '"' + "u" * 500 + '"')
    path = write("events.ndjson", lines("1", "2", "3") + long_line + lines("4"))
    sink = ListSink(most_bytes=300)
    told: dict[int, str] = {}

    position = run(path, sink, tmp_path, on_skip=told.__setitem__)

    assert sink.ids == ["1", "2", "3", "4"]
    assert told == {4: "longer than the server accepts"}
    assert position == ImportPosition(row=5, read=5, stored=4, skipped=1)


def test_a_second_run_goes_on_where_the_first_ended(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_EVENTS", 2)
    monkeypatch.setattr(ledger, "MAX_OPEN_ROWS", 1)  # the outcome of each batch is known before the next
    path = write("events.ndjson", lines("1", "2", "3", "4", "5"))
    first, third = ListSink(), ListSink()

    def die_at(row: int) -> None:
        if row == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, first, tmp_path, on_batch=die_at)
    position = run(path, first, tmp_path)
    run(path, third, tmp_path, restart=True)

    assert first.ids == ["1", "2", "3", "4", "5"]
    assert position == ImportPosition(row=5, read=5, stored=5)
    assert third.ids == ["1", "2", "3", "4", "5"]


def test_rows_nobody_stores_are_told_as_such(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K1: rows in the log are durable but not stored, and without `meterport ingest` nothing is stored."""

    class Unstored(ListSink):
        def outcomes(self, names: Sequence[EventName], explain_after_ms: int) -> list[Outcome]:
            found = super().outcomes(names, explain_after_ms)
            return [Outcome() if name.id == "2" else outcome for name, outcome in zip(names, found, strict=True)]

    monkeypatch.setattr(ledger, "STALL_SECONDS", 0.1)
    path = write("events.ndjson", lines("1", "2", "3"))

    position = run(path, Unstored(), tmp_path)

    assert position == ImportPosition(row=3, read=3, stored=2, late=1)
    assert [*summary(ImportPosition(), position, Uncounted(), 0)][1].startswith("not stored yet: 1 row. It is safe")


def test_the_position_belongs_to_content_and_mapping(write: Write, tmp_path: Path) -> None:
    path = write("events.ndjson", lines("1"))
    sink = ListSink()
    run(path, sink, tmp_path)
    renamed, changed = write("renamed.ndjson", lines("1")), write("events.ndjson", lines("2"))

    run(renamed, sink, tmp_path)
    run(changed, sink, tmp_path)

    assert sink.ids == ["1", "2"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"row": 1}', b"[]"])
def test_a_position_that_cannot_be_read_is_the_start(write: Write, tmp_path: Path, content: bytes) -> None:
    file = EventFile(write("events.ndjson", lines("1")), None, ColumnMapping())
    positions = PositionFile(tmp_path, file, ColumnMapping())
    positions.save(ImportPosition(row=1, read=1, stored=1))
    (stored,) = (tmp_path / "imports").iterdir()
    stored.write_bytes(content)

    assert positions.load() is None


def test_a_position_that_cannot_be_written_names_the_directory(write: Write) -> None:
    """As with `import --server`, which otherwise needs no data directory."""
    file = EventFile(write("f.ndjson", '{"id":"1"}\n'), None, EVENTS)
    directory = write("data", "a file")
    sink = ListSink()

    with pytest.raises(ConfigurationError) as refused:
        Importer(sink, PositionFile(directory, file, EVENTS)).run(file)

    failure = "Not a directory"
    assert str(refused.value) == f"data_dir: cannot save the progress of the import in {directory}/imports: {failure}"
    assert sink.ids == []  # writing it is tested before anything is sent


def test_killed_in_the_middle_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    path, data_dir = tmp_path / "usage.csv", tmp_path / "data"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "at", "tokens"])
        rows.writerows([f"c{n % 7}", "2026-01-01T00:00:00Z", n] for n in range(20_000))
    tokens = ("--event-type=use", "--aggregation=SUM", "--value-property=$.tokens")
    meterport("meters", "create", "tokens", *tokens, data_dir=data_dir)
    arguments = ("import", str(path), "--type=use", "--subject=column:customer", "--time=column:at")

    # Die before a batch is durable, after it and before its position is saved, and after its usage is stored.
    for fault in ("log.before-commit:2", "log.after-commit:2", "ingest.after-insert:1"):
        killed = meterport(*arguments, data_dir=data_dir, variables={"METERPORT_FAULT": fault})
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = meterport(*arguments, data_dir=data_dir)
    answer = meterport("query", "tokens", "--format=json", data_dir=data_dir)

    assert finished.stdout.startswith("read 20,000 rows, stored 20,000, already stored 0, skipped 0, in ")
    assert [row["value"] for row in orjson.loads(answer.stdout)["data"]] == [20_000 * 19_999 // 2]
