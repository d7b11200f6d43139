"""The command `meterport import` reads pipes, files with any name and any options, and reports each error in one line.

Cases N4, N23, N23b, N25 and N26. Each test runs `meterport` on its own data directory.
"""

import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.harness.command import meterport_bytes
from tests.harness.preloaded import ROOT
from tests.ingest.importer.source_files import EVENT, OPTIONS, TABLE
from tests.ingest.importer.written_files import Write, write

__all__ = ["write"]  # a fixture of another file


def meterport(
    *arguments: str | bytes, data_dir: Path | None = None, stdin: bytes | None = None, code: int = 0
) -> "subprocess.CompletedProcess[bytes]":
    answer = meterport_bytes(*arguments, data_dir=data_dir, stdin=stdin)
    assert b"Traceback" not in answer.stderr, answer.stderr.decode(errors="replace")
    assert answer.returncode == code, answer.stderr.decode(errors="replace")
    return answer


def usage(data_dir: Path) -> list[Any]:
    answer = meterport("query", "m", "--format=json", data_dir=data_dir)
    return [row["value"] for row in orjson.loads(answer.stdout)["data"]]


@pytest.fixture(scope="module")
def made_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "data"
    meterport("meters", "create", "m", "--event-type=t", "--aggregation=COUNT", data_dir=made)
    return made


@pytest.fixture
def data_dir(made_data_dir: Path, tmp_path: Path) -> Path:
    """Return a data directory with a meter that counts events of type t."""
    return shutil.copytree(made_data_dir, tmp_path / "data", symlinks=True)


def test_standard_input_is_imported_by_each_of_its_names(data_dir: Path) -> None:
    """N4: before, it printed "read 0 rows, all stored", and nothing was counted."""
    for number, (name, content) in enumerate([("-", EVENT % 1), ("/dev/stdin", EVENT % 2), ("/dev/fd/0", EVENT % 3)]):
        answer = meterport("import", name, "--format=ndjson", data_dir=data_dir, stdin=content.encode())

        assert answer.stdout.startswith(b"read 1 row, stored 1, already stored 0, skipped 0, in ")
        label = "standard input" if name == "-" else name
        assert f"{label}: reading all of it; the import of its rows begins after that\n".encode() in answer.stderr
        assert usage(data_dir) == [number + 1]


def test_standard_input_that_tells_no_format_or_is_closed_is_one_line(data_dir: Path) -> None:
    """N4"""
    unnamed = meterport("import", "-", data_dir=data_dir, stdin=b"", code=1)
    shell = f"exec {sys.executable} -m meterport import - --format ndjson --data-dir {data_dir} <&-"
    closed = subprocess.run(["sh", "-c", shell], cwd=ROOT, capture_output=True, check=False, timeout=120)

    said = b"meterport: standard input: unknown file type; give --format ndjson, csv, tsv or parquet\n"
    assert unnamed.stderr == said
    assert (closed.returncode, closed.stderr) == (1, b"meterport: standard input: it is closed\n")


def test_nothing_of_a_source_that_became_an_event_is_no_success(data_dir: Path, write: Write) -> None:
    """N4: for 0 rows of a source that is not empty, the summary must not be "all stored"."""
    said = "it holds no rows, so nothing was imported\n"
    only_names = str(write("f.csv", b"ts,who,n\n"))

    blank = meterport("import", "-", "--format=ndjson", data_dir=data_dir, stdin=b"\n \r\n", code=1)
    header = meterport("import", only_names, *OPTIONS, data_dir=data_dir, code=1)
    empty = meterport("import", "-", "--format=ndjson", data_dir=data_dir, stdin=b"")

    assert blank.stderr.decode().endswith(f"meterport: standard input: {said}")
    assert header.stderr.decode() == f"meterport: {only_names}: {said}"
    assert empty.stdout.startswith(b"read 0 rows, stored 0")


def test_a_file_whose_name_is_not_utf_8_is_imported(data_dir: Path, tmp_path: Path) -> None:
    """N23b: before, each run ended in a traceback after its first batch."""
    path = os.fsencode(tmp_path) + b"/caf\xe9\x1b[31m.csv"
    Path(os.fsdecode(path)).write_bytes(TABLE.encode() + b"2026-11-01,,1\n")

    stopped = meterport("import", path, *OPTIONS, data_dir=data_dir, code=1)
    meterport("import", path, *OPTIONS, "--skip-invalid", data_dir=data_dir)

    assert b"caf\\xe9\\x1b[31m.csv: row 3: column who is empty (2 rows before it are stored; " in stopped.stderr
    assert usage(data_dir) == [2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "f.csv", *OPTIONS, b"--data=Gr\xf6"), "--data: Gr\\xf6"),
        (("import", "f.csv", *OPTIONS, "--null=-", b"--null=\xff"), "--null: \\xff"),
        (("query", b"\xf6"), "SLUG: \\xf6"),
        (("query", "m", b"--subject=\xf6"), "--subject: \\xf6"),
        (("meters", "create", "m", b"--event-type=\xf6", "--aggregation=COUNT"), "--event-type: \\xf6"),
        (("meters", "delete", b"\xf6"), "SLUG: \\xf6"),
        (("token", "create", b"\xf6"), "SUBJECT: \\xf6"),
        (("token", "invalidate", b"--id=\xf6"), "--id: \\xf6"),
        (("dead-letters", "list", b"--server=\xf6"), "--server: \\xf6"),
        (("serve", b"--host=\xf6"), "--host: \\xf6"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_an_option_that_is_not_utf_8_is_one_line(tmp_path: Path, arguments: tuple[str | bytes, ...], said: str) -> None:
    """N23b: one place in the code checks this for all commands."""
    answer = meterport(*arguments, data_dir=tmp_path / "none", code=1)

    assert answer.stderr == f"meterport: {said} is not UTF-8\n".encode()
    assert not (tmp_path / "none").exists()


def test_a_data_directory_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    """N23b: the embedded store does not accept such a path."""
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))

    answer = meterport("meters", "list", data_dir=directory, code=78)

    assert answer.stderr.startswith(b"meterport: data_dir: ")
    assert b"\\xe9 is not UTF-8: the store does not accept such a path" in answer.stderr
    assert answer.stderr.count(b"\n") == 1
    assert not directory.exists()


def test_a_configuration_from_a_pipe_is_obeyed(tmp_path: Path, write: Write) -> None:
    """Like N4: before, it was read twice and was empty the second time, so its settings were silently ignored."""
    content = f"log_level: warning\ndata_dir: {tmp_path / 'named'}\n".encode()

    shown = meterport("config", "show", "--config=/dev/stdin", stdin=content)
    meterport("import", str(write("f.csv", TABLE.encode())), *OPTIONS, "--config=/dev/stdin", stdin=content)

    assert b"log_level: warning  # from /dev/stdin\n" in shown.stdout
    assert (tmp_path / "named" / "store").is_dir()


def test_what_a_terminal_obeys_reaches_it_escaped(data_dir: Path, write: Write) -> None:
    """N23: the author of the file chooses the names of columns and the values of rows."""
    evil = "\x1b]0;owned\x07\u202e"
    header = write("header.csv", f"{evil},ts\na,2026-11-01\n".encode())
    cells = write("cells.csv", f"who,ts\na,{evil}\n".encode())

    refused = meterport("import", str(header), *OPTIONS, data_dir=data_dir, code=1)
    skipped = meterport("import", str(cells), *OPTIONS, "--skip-invalid", data_dir=data_dir, code=1)

    for answer in (refused, skipped):
        assert b"\x1b" not in answer.stderr
        assert "\u202e" not in answer.stderr.decode()
    assert b"the file's columns are \\x1b]0;owned\\x07\\u202e, ts" in refused.stderr
    assert b"cells.csv: row 1 left out: time '\\x1b]0;owned\\x07\\u202e' is not a time" in skipped.stderr


def test_a_name_in_brackets_is_no_markup_of_the_terminal(data_dir: Path, write: Write) -> None:
    """Like N23b: before, the progress bar on a terminal read `[red]` in the name of the file as markup."""
    path = write("[red]x.csv", TABLE.encode())
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "meterport", "import", str(path), *OPTIONS, "--data-dir", str(data_dir)]
    shown = b""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs) as importing:
        os.close(theirs)
        with suppress(OSError):  # the terminal is gone when its last writer has closed it
            while more := os.read(ours, 4096):
                shown += more
        os.close(ours)
        assert importing.stdout is not None
        summary = importing.stdout.read()

    assert (importing.returncode, summary[:22]) == (0, b"read 2 rows, stored 2,"), shown.decode(errors="replace")
    assert b"[red]x.csv" in shown


def test_the_summary_says_how_many_times_occur_twice(data_dir: Path, write: Write) -> None:
    """N26: both hours have usage, and the row of the second hour is not counted in the first."""
    path = str(write("f.csv", b"who,ts\na,2025-11-02 01:30\na,2025-11-02 01:30\na,2025-11-02 02:30\n"))
    options = (*OPTIONS, "--time-zone=America/New_York")

    refused = meterport("import", path, *options, data_dir=data_dir, code=1)
    taken = meterport("import", path, *options, "--ambiguous=infer", data_dir=data_dir)

    assert b"f.csv: row 1: time 2025-11-02 01:30:00 occurs twice in America/New_York" in refused.stderr
    assert taken.stdout.endswith(b"\n2 local times occur twice: 1 taken as the earlier, 1 as the later\n")
    hours = meterport("query", "m", "--window-size=HOUR", "--format=csv", data_dir=data_dir).stdout.decode()
    assert [line.split(",")[0][11:16] for line in hours.splitlines()[1:]] == ["05:00", "06:00", "07:00"]


def test_times_that_are_numbers_are_imported_with_their_unit(data_dir: Path) -> None:
    """N25"""
    content = b"who,ts\na,1752364800000\n"
    refused = meterport("import", "-", "--format=csv", *OPTIONS, data_dir=data_dir, stdin=content, code=1)
    meterport("import", "-", "--format=csv", *OPTIONS, "--time-unit=ms", data_dir=data_dir, stdin=content)

    assert b"standard input: row 1: time '1752364800000' is a number, not a time" in refused.stderr
    assert usage(data_dir) == [1]
