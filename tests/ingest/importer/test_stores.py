"""An import continues only in a store that has the rows of its previous run (D1), not in an empty, other or older one.

The messages of an import about a server that does not answer are tested here, too (D5).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import orjson
import pytest

from ingest.importer import importer as importing
from ingest.importer import ledger
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from ingest.importer.importer import Importer
from ingest.importer.positions import ImportPosition, PositionFile
from meterport.client import ApiClient
from tests.harness.command import meterport
from tests.harness.preloaded import ROOT
from tests.ingest.importer.file_events import lines
from tests.ingest.importer.list_sink import ListSink

AGAIN = "rows that an earlier run has sent are not in the store, so the import begins again with the first row"
Run = Callable[..., tuple[ImportPosition, list[str]]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "e.ndjson"
    path.write_text(lines("1", "2", "3", "4"))
    return path


@pytest.fixture
def run(file: Path, tmp_path: Path) -> Run:
    """Import the file into a sink. Return the position and the messages."""

    def run_(sink: ListSink) -> tuple[ImportPosition, list[str]]:
        notes: list[str] = []
        opened = EventFile(file, None, ColumnMapping())
        done = Importer(sink, positions(file, tmp_path), on_note=notes.append).run(opened)
        return done, notes

    return run_


def positions(file: Path, directory: Path) -> PositionFile:
    return PositionFile(directory, EventFile(file, None, ColumnMapping()), ColumnMapping())


def saved(file: Path, directory: Path) -> ImportPosition:
    position = positions(file, directory).load()
    assert position is not None
    return position


@pytest.mark.parametrize("older", [False, True], ids=["emptied", "restored from an older copy"])
def test_a_store_that_lost_the_rows_is_sent_them_again(tmp_path: Path, older: bool) -> None:
    """D1: before, the second import reported that all rows were read, and stored nothing."""
    path, data_dir, copy = tmp_path / "e.csv", tmp_path / "data", tmp_path / "copy"
    path.write_text("at,who,tokens\n2026-11-01,a,3\n2026-11-02,b,4\n")
    own = ("--data-dir", str(data_dir))
    tokens = ("--event-type=use", "--aggregation=SUM", "--value-property=$.tokens")
    arguments = ("import", str(path), "--type=use", "--subject=column:who", "--time=column:at", *own)
    meterport("meters", "create", "tokens", *tokens, *own)
    shutil.copytree(data_dir, copy, symlinks=True)

    first = meterport(*arguments)
    shutil.move(data_dir / "imports", tmp_path / "imports")
    shutil.rmtree(data_dir)
    if older:
        shutil.copytree(copy, data_dir, symlinks=True)
    else:
        meterport("meters", "create", "tokens", *tokens, *own)
    shutil.move(tmp_path / "imports", data_dir / "imports")
    second, third = meterport(*arguments), meterport(*arguments)
    answer = meterport("query", "tokens", "--format=json", *own)

    assert first.stdout.startswith("read 2 rows, stored 2, already stored 0"), first.stderr
    assert second.stdout.startswith("read 2 rows, stored 2, already stored 0"), second.stderr
    assert f"e.csv: {AGAIN}; rows that are in the store are not stored twice\n" in second.stderr
    assert third.stdout.startswith("read 0 rows, stored 0, already stored 0")
    assert third.stderr == ""
    assert [row["value"] for row in orjson.loads(answer.stdout)["data"]] == [7]


def test_a_store_that_lost_only_the_last_rows_is_sent_all(run: Run) -> None:
    """D1: as after restoring a backup from the middle of the import."""
    sink = ListSink()
    run(sink)
    del sink.events[3:]

    _, notes = run(sink)

    assert sink.ids == ["1", "2", "3", "1", "2", "3", "4"]  # ingest drops the first three as duplicates
    assert [note.startswith(f"e.ndjson: {AGAIN}") for note in notes] == [True]


def test_a_run_that_was_killed_goes_on_only_in_the_same_store(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1: a position in the middle of a file also belongs to its store."""
    monkeypatch.setattr(importing, "BATCH_EVENTS", 1)
    monkeypatch.setattr(ledger, "MAX_OPEN_ROWS", 1)

    class Dies(ListSink):
        def send_events(self, events: "list[bytes]") -> "dict[int, str]":  # type: ignore[override]
            if len(self.events) == 3:
                raise KeyboardInterrupt
            super().send_events(events)
            return {}

    killed, other = Dies(), ListSink()
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    middle = saved(file, tmp_path)
    same = ListSink()
    same.events = [*killed.events]
    run(same)
    positions(file, tmp_path).save(middle)
    run(other)

    assert 0 < middle.row < 4
    assert same.ids == ["1", "2", "3", *["3", "4"][middle.row - 2 :]]
    assert other.ids == ["1", "2", "3", "4"]


def test_past_the_duplicate_window_rows_are_not_sent_again_but_it_is_said(run: Run, file: Path, tmp_path: Path) -> None:
    """D1: by then a store has forgotten the ids, and rows that are sent again would count twice."""
    run(ListSink())
    position = saved(file, tmp_path)
    long_ago = time.time_ns() // 1_000_000 - timedelta(days=36) // timedelta(milliseconds=1)
    positions(file, tmp_path).save(replace(position, began_ms=long_ago))
    later = ListSink()

    _, notes = run(later)

    assert later.ids == []
    assert [
        "the duplicate window of 35 days has passed, so the import continues after row 4" in note for note in notes
    ] == [True]


def test_a_position_of_an_older_release_is_the_start(run: Run, tmp_path: Path) -> None:
    """D1: it names no rows that could be looked up in the store."""
    run(ListSink())
    (path,) = (tmp_path / "imports").iterdir()
    members = orjson.loads(path.read_bytes())
    del members["last"], members["began_ms"]
    path.write_bytes(orjson.dumps(members))
    later = ListSink()

    run(later)

    assert later.ids == ["1", "2", "3", "4"]


def test_a_position_of_left_out_rows_alone_is_kept(file: Path, tmp_path: Path) -> None:
    """Nothing was sent, so the store cannot lack anything."""
    skipped: dict[int, str] = {}
    sink = ListSink(refuse=lambda _: "no")
    for _ in range(2):
        opened, told = EventFile(file, None, ColumnMapping()), dict[int, str]()
        Importer(sink, positions(file, tmp_path), on_skip=told.__setitem__).run(opened)
        skipped = skipped or told

    assert sorted(skipped) == [1, 2, 3, 4]
    assert told == {}


def test_an_import_says_soon_which_server_it_waits_for(file: Path, tmp_path: Path) -> None:
    """D5: before, it printed nothing for a minute, and then that nothing answers."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens at this port, and no other program gets it
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        arguments = ("import", str(file), "--server", url, "--data-dir", str(tmp_path))
        command = [sys.executable, "-m", "meterport", *arguments]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
            assert waiting.stderr is not None
            line = waiting.stderr.readline()  # the error after a minute, if there is no earlier message
            waiting.kill()

    assert line.startswith(f"no answer from {url}: ")
    assert line.endswith("; trying again for a minute\n")


def test_a_server_that_stays_busy_is_named_too() -> None:
    """D5: a similar case: the import waits for as long as the server answers 503."""

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b'{"title":"Service Unavailable","detail":"the log is full"}'
            self.send_response(503)
            self.send_header("Retry-After", "11")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def said(line: str) -> None:
        raise InterruptedError(line)  # end the wait: only the message matters

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with closing(ApiClient(url, None, on_pause=said)) as client, pytest.raises(InterruptedError) as spoken:
            client.newest_stamp()

    assert str(spoken.value) == f"waiting for {url}: the log is full"
