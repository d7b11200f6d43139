"""Pipes are read once and to their end, and files that change while they are read are noticed (N4)."""

import gzip
import os
import threading
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InvalidRequest
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile, FileFormat
from tests.ingest.importer.source_files import EVENT, ROWS, TABLE, refusal
from tests.ingest.importer.written_files import Write, write

__all__ = ["write"]  # a fixture of another file


def fed(path: Path, content: bytes) -> threading.Thread:
    """Write to a FIFO from another thread, as another program would."""

    def write_() -> None:
        with suppress(BrokenPipeError):  # the reader may refuse the source before it reads anything
            path.write_bytes(content)

    thread = threading.Thread(target=write_, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f.parquet"])
def test_a_fifo_is_read_to_its_end_and_imported(tmp_path: Path, name: str) -> None:
    """N4: before, it was read once for its hash, and opening it a second time never returned."""
    pq.write_table(pa.table({"ts": ["2026-11-01", "2026-11-02"], "who": ["a", "ü"], "n": [1, 2]}), tmp_path / "f")
    content = {"f.csv": TABLE.encode(), "f.csv.gz": gzip.compress(TABLE.encode())}.get(
        name, (tmp_path / "f").read_bytes()
    )
    os.mkfifo(tmp_path / name)
    feeding = fed(tmp_path / name, content)
    told: list[tuple[str, int]] = []

    file = EventFile(tmp_path / name, None, ROWS, lambda label, size: told.append((label, size)))
    feeding.join(30)

    assert [row.number for row in file.read()] == [row.number for row in file.read()] == [1, 2]
    assert told[0] == (str(tmp_path / name), 0)  # before any program writes to it
    assert told[-1][1] == len(content)
    (tmp_path / f"2{name}").write_bytes(content)
    assert file.hash == EventFile(tmp_path / f"2{name}", None, ROWS).hash


def test_a_pipe_that_cannot_be_kept_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N4"""
    os.mkfifo(tmp_path / "f.csv")
    feeding = fed(tmp_path / "f.csv", TABLE.encode())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))

    said = refusal(tmp_path / "f.csv")
    feeding.join(30)

    assert said == "f.csv: it cannot be copied to none: No such file or directory; set TMPDIR to another directory"


def test_a_file_that_says_it_is_empty_and_is_not_is_imported_whole() -> None:
    """N4: files in /proc have a size of 0. This one contains no table, and must not be read as an empty one."""
    file = EventFile(Path("/proc/self/status"), FileFormat.NDJSON, ColumnMapping())

    assert not file.empty
    assert len(list(file.read())) > 10


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """N4"""
    assert refusal(tmp_path, format_=FileFormat.CSV).endswith(": it is a directory, not a file")


def test_a_file_that_is_replaced_under_its_name_is_read_as_it_was(write: Write) -> None:
    """N4: the hash and the rows must come from the same content."""
    path = write("f.csv", TABLE.encode())
    file = EventFile(path, None, ROWS)
    write("new", b"ts,who,n\n2026-11-01,other,9\n").replace(path)

    assert len(list(file.read())) == 2


def test_a_file_that_grows_is_read_as_far_as_it_reached_at_first(write: Write) -> None:
    """N4"""
    path = write("f.ndjson", (EVENT % 1).encode())
    file = EventFile(path, None, ColumnMapping())
    rows = file.read()
    with path.open("a") as more:
        more.write(EVENT % 2)
    os.utime(path, ns=(1, 1))

    assert [row.number for row in rows] == [1]


def test_a_file_that_is_written_over_meanwhile_is_no_success(write: Write) -> None:
    """N4: some of the rows that were read belong to neither content."""
    path = write("f.ndjson", (EVENT % 1 + EVENT % 2).encode())
    file = EventFile(path, None, ColumnMapping())
    path.write_bytes((EVENT % 3 + EVENT % 4).encode())
    os.utime(path, ns=(1, 1))

    with pytest.raises(InvalidRequest, match="it was changed while it was read"):
        list(file.read())


def test_a_file_that_is_cut_meanwhile_is_no_success(write: Write) -> None:
    """N4"""
    path = write("f.ndjson", (EVENT % 1 + EVENT % 2).encode())
    file = EventFile(path, None, ColumnMapping())
    os.truncate(path, 10)

    with pytest.raises(InvalidRequest, match="it became shorter while it was read"):
        list(file.read())
