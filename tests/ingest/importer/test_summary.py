"""The summary of an import gives the outcome of its rows: stored, stored before, counted by no meter, left out.

The tests use a real server, whose answers the command line prints.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from engine.events.outcome import EventName, Outcome
from ingest.importer import importer as importing
from ingest.importer import ledger
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from ingest.importer.positions import ImportPosition, PositionFile
from meterport.client import ApiClient
from meterport.commands.import_ import import_file
from tests.harness.command import meterport
from tests.harness.server import Server
from tests.ingest.importer.summaries import AT, meter, of_stored, told, usage

Import = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("summary"))
    running.start()
    yield running
    running.kill()


@pytest.fixture
def client(server: Server) -> Iterator[ApiClient]:
    opened = ApiClient(str(server.url), None)
    yield opened
    opened.close()


@pytest.fixture
def imported(server: Server, tmp_path: Path) -> Import:
    """Import rows with the columns ts, who and tokens as events of a type."""

    def import_(rows: str, type_: str, *options: str, name: str = "e.csv") -> "subprocess.CompletedProcess[str]":
        path = tmp_path / name
        path.write_text(f"ts,who,tokens\n{rows}")
        mapping = (f"--type={type_}", "--subject=column:who", "--time=column:ts")
        return meterport(
            "import", str(path), *mapping, "--server", str(server.url), "--data-dir", str(tmp_path), *options
        )

    return import_


# stored and counted rows


def test_rows_without_a_countable_value_are_counted_and_named(client: ApiClient, imported: Import) -> None:
    """N6; N23: one value has a NUL within a number."""
    meter(client, "forms")
    cells = ['"1,234"', '"1.234,56"', "12 GB", "€5", "(3)", " 7", "007", "+7", ".5", "1\0", "8"]

    answer = imported("".join(f"{AT},a{at},{cell}\n" for at, cell in enumerate(cells)), "forms")

    reason = "invalid event: value cannot be parsed as float64:"
    assert told(answer) == [
        "read 11 rows, stored 11, already stored 0, skipped 0",
        of_stored(7),
        f"  row 1: {reason} 1,234",
        f"  row 2: {reason} 1.234,56",
        f"  row 3: {reason} 12 GB",
        f"  row 4: {reason} €5",
        f"  row 5: {reason} (3)",
        "  and 2 more rows for other reasons",
    ]


def test_events_of_a_type_no_meter_has_are_told(imported: Import) -> None:
    """N6: such as a misspelt type."""
    answer = imported(f"{AT},a,1\n{AT},b,2\n{AT},c,3\n", "typo")

    assert told(answer) == [
        "read 3 rows, stored 3, already stored 0, skipped 0",
        of_stored(3),
        "  row 1 and 2 more: no meter found for event type: typo",
    ]


def test_rows_every_meter_counts_need_no_further_word(client: ApiClient, imported: Import) -> None:
    meter(client, "plain")
    meter(client, "plain", "COUNT")

    assert told(imported(f"{AT},a,1\n{AT},b,2\n", "plain")) == ["read 2 rows, stored 2, already stored 0, skipped 0"]


def test_rows_that_were_stored_before_are_told(client: ApiClient, imported: Import) -> None:
    """N3: as in a file that grew. A row that no meter counts is reported by the import that stores it."""
    meter(client, "grown")
    rows = f"{AT},a,1\n{AT},b,many\n"

    assert told(imported(rows, "grown"))[0] == "read 2 rows, stored 2, already stored 0, skipped 0"
    again = imported(f"{rows}{AT},c,4\n", "grown")
    restarted = imported(f"{rows}{AT},c,4\n", "grown", "--restart")

    assert told(again) == ["read 3 rows, stored 1, already stored 2, skipped 0"]
    assert told(restarted) == ["read 3 rows, stored 0, already stored 3, skipped 0"]


def test_an_id_that_is_not_unique_is_told(client: ApiClient, imported: Import) -> None:
    """N26b: two rows with one id are one event, even in different batches."""
    meter(client, "natural")

    answer = imported(f"{AT},a,1\n{AT},a,2\n{AT},a,4\n{AT},b,5\n", "natural", "--id=column:who")

    assert told(answer) == ["read 4 rows, stored 2, already stored 2, skipped 0"]


def test_what_is_sent_in_many_batches_and_twice_is_told_once(
    client: ApiClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N26b: rows may be repeated in a later batch. A batch that is sent again, as after a 503, is not a repetition."""
    monkeypatch.setattr(importing, "BATCH_EVENTS", 7)
    monkeypatch.setattr(ledger, "QUERY_SECONDS", 0.0)
    monkeypatch.setattr(ledger, "ROWS_PER_QUERY", 20)
    meter(client, "batches")

    class Twice(ApiClient):
        def send_events(self, events: Sequence[bytes]) -> dict[int, str]:
            super().send_events(events)
            return super().send_events(events)

    path = tmp_path / "e.ndjson"
    path.write_bytes(b"\n".join(event(f"e{number % 30}", "batches", number) for number in range(100)))

    done = run(Twice(client.url, None), path, tmp_path)

    assert (done.read, done.stored, done.known) == (100, 30, 70)
    assert usage(client, "batches_sum") == [sum(range(30))]


def test_an_import_that_goes_on_tells_what_all_its_runs_stored(
    client: ApiClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N6, N26b: the stamp of the start of the import and the ids of earlier rows are kept after the run."""
    monkeypatch.setattr(importing, "BATCH_EVENTS", 10)
    monkeypatch.setattr(ledger, "MAX_OPEN_ROWS", 20)
    monkeypatch.setattr(ledger, "ROWS_PER_QUERY", 10)
    meter(client, "goes_on")
    old, path = tmp_path / "old.ndjson", tmp_path / "e.ndjson"
    old.write_bytes(b"\n".join(event(f"g{number}", "goes_on", 1) for number in range(5)))
    path.write_bytes(b"\n".join(event(f"g{number % 60}", "goes_on", 1) for number in range(100)))
    run(ApiClient(client.url, None), old, tmp_path)

    class Dies(ApiClient):
        batches = 0

        def send_events(self, events: Sequence[bytes]) -> dict[int, str]:
            self.batches += 1
            answer = super().send_events(events)
            if self.batches == 5:
                raise KeyboardInterrupt  # the batch is durable, but the position is not saved
            return answer

    with pytest.raises(KeyboardInterrupt):
        run(Dies(client.url, None), path, tmp_path)
    between = positions(path, tmp_path).load()
    done = run(ApiClient(client.url, None), path, tmp_path)

    assert between is not None
    assert 0 < between.row <= 40
    assert (done.read, done.stored, done.known) == (100, 55, 45)
    assert usage(client, "goes_on_sum") == [60]


def test_rows_wait_for_their_outcome_in_bounded_memory(
    client: ApiClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_EVENTS", 10)
    monkeypatch.setattr(ledger, "MAX_OPEN_ROWS", 30)
    monkeypatch.setattr(ledger, "ROWS_PER_QUERY", 20)
    meter(client, "bounded")
    path = tmp_path / "e.ndjson"
    path.write_bytes(b"\n".join(event(f"b{number}", "bounded", 1) for number in range(500)))
    asked: list[int] = []

    class Counting(ApiClient):
        def outcomes(self, names: Sequence[EventName], explain_after_ms: int) -> list[Outcome]:
            asked.append(len(names))
            return super().outcomes(names, explain_after_ms)

    done = run(Counting(client.url, None), path, tmp_path)

    assert (done.stored, done.known, done.late) == (500, 0, 0)
    assert max(asked) <= 20


def event(id_: str, type_: str, tokens: int) -> bytes:
    attributes = {"specversion": "1.0", "id": id_, "source": type_, "type": type_, "subject": "a", "time": AT}
    return orjson.dumps({**attributes, "data": {"tokens": tokens}})


def positions(path: Path, directory: Path) -> PositionFile:
    return PositionFile(directory, EventFile(path, None, ColumnMapping()), ColumnMapping())


def run(client: ApiClient, path: Path, directory: Path) -> ImportPosition:
    with closing(client):
        return import_file(client, EventFile(path, None, ColumnMapping()), positions(path, directory))


# rows that became no event


@pytest.mark.parametrize(("name", "content"), [("e.csv", "ts,who,tokens\n"), ("e.ndjson", "\n \n")])
def test_a_file_with_content_and_no_row_is_an_error(server: Server, tmp_path: Path, name: str, content: str) -> None:
    """N4: no row became an event, which must not look like success."""
    path = tmp_path / name
    path.write_text(content)
    mapping = ("--type=t", "--subject=column:who", "--time=column:ts") if name == "e.csv" else ()

    answer = meterport("import", str(path), *mapping, "--server", str(server.url), "--data-dir", str(tmp_path))

    assert answer.returncode == 1
    assert answer.stdout.startswith("read 0 rows, stored 0, already stored 0, skipped 0, in ")
    assert answer.stderr == f"meterport: {path}: it holds no rows, so nothing was imported\n"


def test_an_import_of_left_out_rows_alone_fails(imported: Import) -> None:
    """N9b: a row that consists only of commas is left out, too."""
    answer = imported(",,\nyesterday,a,1\n", "none", "--skip-invalid")

    assert answer.returncode == 1
    assert answer.stdout.startswith("read 2 rows, stored 0, already stored 0, skipped 2, in ")


def test_a_row_of_commas_is_left_out_of_a_file_of_events(server: Server, tmp_path: Path) -> None:
    """N9b: before, it made its whole batch fail, and the message did not name the row."""
    path = tmp_path / "comma.csv"
    path.write_text("id,source,type,subject,data\nc1,comma,t,a,{}\n,,,,\nc2,comma,t,a,{}\n")
    arguments = ("import", str(path), "--server", str(server.url), "--data-dir", str(tmp_path))

    stopped = meterport(*arguments)
    skipped = meterport(*arguments, "--skip-invalid")

    before = "(1 row before it is stored)"
    assert (stopped.returncode, stopped.stderr) == (1, f"meterport: {path}: row 2: id is missing {before}\n")
    assert skipped.returncode == 0, skipped.stderr
    assert skipped.stderr == "comma.csv: row 2 left out: id is missing\n"
    assert skipped.stdout.startswith("read 2 rows, stored 1, already stored 0, skipped 1, in ")


def test_a_file_of_events_with_a_row_left_out_is_imported_again(server: Server, tmp_path: Path) -> None:
    """Before, the second run ended with a traceback: the row that was left out has no id to remember."""
    path = tmp_path / "again.csv"
    path.write_text("id,source,type,subject,data\ng1,again,t,a,{}\n,,,,\ng2,again,t,a,{}\n")
    arguments = ("import", str(path), "--skip-invalid", "--server", str(server.url), "--data-dir", str(tmp_path))

    assert told(meterport(*arguments))[0] == "read 3 rows, stored 2, already stored 0, skipped 1"
    again = meterport(*arguments)
    assert again.stdout.startswith("read 0 rows, stored 0, already stored 0, skipped 0, in "), again.stderr
    assert " s (3 rows were read by an earlier run" in again.stdout


def test_a_row_that_breaks_its_batch_is_found_and_named(server: Server, tmp_path: Path) -> None:
    """N9b: the server's nesting limit for a batch is lower than the limit that the import checks for one event."""
    path = tmp_path / "deep.ndjson"
    deep = b'{"a":' * 1000 + b"1" + b"}" * 1000
    lines = [event(f"d{number}", "deep", 1) for number in range(20)]
    lines[12] = lines[12].replace(b'{"tokens":1}', deep)
    path.write_bytes(b"\n".join(lines))

    answer = meterport("import", str(path), "--skip-invalid", "--server", str(server.url), "--data-dir", str(tmp_path))

    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.startswith("deep.ndjson: row 13 left out: ")
    assert answer.stdout.startswith("read 20 rows, stored 19, already stored 0, skipped 1, in ")


def test_what_is_stored_before_an_invalid_row_is_summed_up(client: ApiClient, imported: Import) -> None:
    """D2, D3: before, a row that no meter counts was not reported, neither by this run nor by the next one."""
    meter(client, "ends")

    rows = f"{AT},a,1\n{AT},b,many\n"
    stopped = imported(f"{rows}yesterday,c,4\n{AT},d,5\n", "ends")
    again = imported(f"{rows}yesterday,c,4\n{AT},d,5\n", "ends", "--skip-invalid")

    assert stopped.returncode == 1
    first, *others = stopped.stdout.splitlines()
    assert first.startswith("read 2 rows, stored 2, already stored 0, skipped 0, in ")
    assert others == [of_stored(1), "  row 2: invalid event: value cannot be parsed as float64: many"]
    reason = "(2 rows before it are stored; with another mapping they are counted again)\n"
    assert "row 3: time 'yesterday' is not a time" in stopped.stderr
    assert stopped.stderr.endswith(reason)
    assert told(again)[0] == "read 2 rows, stored 1, already stored 0, skipped 1"
    assert again.stdout.endswith(" s (2 rows were read by an earlier run; of them, 1 not counted by every meter)\n")


def test_an_invalid_first_row_needs_no_summary(imported: Import) -> None:
    """D2: nothing was stored, and the error message says everything."""
    answer = imported(f"yesterday,c,4\n{AT},d,5\n", "begins")

    assert (answer.returncode, answer.stdout) == (1, "")
    assert "before it" not in answer.stderr


def test_a_file_whose_name_is_not_utf_8_is_imported(server: Server, tmp_path: Path) -> None:
    """N23b."""
    path = tmp_path / b"caf\xe9.csv".decode("utf-8", "surrogateescape")
    path.write_text(f"ts,who,tokens\n{AT},a,1\nyesterday,a,1\n")
    arguments = ("import", str(path), "--type=named", "--subject=column:who", "--time=column:ts", "--skip-invalid")

    answer = meterport(*arguments, "--server", str(server.url), "--data-dir", str(tmp_path))

    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.startswith("caf\\xe9.csv: row 2 left out: ")
    assert told(answer)[0] == "read 2 rows, stored 1, already stored 0, skipped 1"
