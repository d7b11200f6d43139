"""The dead-letter commands, run as separate processes, with a server whose rules changed between two starts."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta

import httpx
import orjson
import pytest

from engine.instants import milliseconds, utc_now
from ingest.sqlite.log import SqliteLog
from tests.api.conftest import event
from tests.console.runs import KEY, Run, cells
from tests.documents.shown import block
from tests.harness.command import meterport
from tests.harness.server import Server

MANY = 2300
NOW = utc_now()
FUTURE, MISSING = "time is too far in the future", "id is missing"


def ahead(id_: str, subject: str = "acme") -> bytes:
    time = (NOW + timedelta(days=2)).isoformat()
    return orjson.dumps(event(id_, subject, time, {"tokens": 1}))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server with dead letters at offsets 1 (not an event), 2 and 3 (ahead of the clock), and MANY after them.

    By now the server accepts events that are ahead of the clock.
    """
    directory = tmp_path_factory.mktemp("dead-letters")
    (directory / "data").mkdir()
    with closing(SqliteLog(directory / "data" / "log.sqlite", max_bytes=1 << 30)) as log:
        log.append([b"{}", ahead("a"), ahead("b")], milliseconds(NOW)).result()
        log.append([ahead(f"many-{number}", "many") for number in range(MANY)], milliseconds(NOW) + 1).result()
    rules = {"METERPORT_API_KEY": KEY, "METERPORT_INGEST__MAX_DEAD_LETTER_RUN": "10000"}
    first = Server(directory, variables=rules)
    first.start()
    with httpx.Client(base_url=str(first.url), headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        while client.get("/metrics").text.find(f"meterport_dead_letters_total {MANY + 3}.0") < 0:
            assert first.running
    assert first.terminate() == 0
    running = Server(directory, variables={**rules, "METERPORT_INGEST__FUTURE_SECONDS": "864000"})
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def letters(server: Server) -> Run:
    """Run a `dead-letters` command against the server."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return meterport("dead-letters", *arguments, "--server", str(server.url), variables={"METERPORT_API_KEY": KEY})

    return run


@pytest.fixture(scope="module")
def events(server: Server) -> Callable[[str], int]:
    """Wait until the whole log is counted. Return how many events of a subject are counted."""

    def count(subject: str) -> int:
        with httpx.Client(base_url=str(server.url), headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
            while client.get("/metrics").text.find("meterport_log_records 0.0") < 0:
                assert server.running
            client.post("/api/v1/meters", json={"slug": "all", "eventType": "prompt", "aggregation": "COUNT"})
            usage = client.get("/api/v1/meters/all/query", params={"subject": subject}).json()["data"]
        return sum(row["value"] for row in usage)

    return count


def test_the_rules_of_a_day_are_looked_up_in_a_list(letters: Run) -> None:
    first = letters("list", "--to", (NOW + timedelta(milliseconds=1)).isoformat())
    limited = letters("list", "--limit", "150", "--reason", "future")
    (one,) = orjson.loads(letters("list", "--offset", "1", "--json").stdout)

    assert first.returncode == 0, first.stderr
    rows = [(row[0][-1], row[2], " ".join(row[3:])) for row in cells(first.stdout)[1:]]  # some may have been replayed
    assert [row[:2] for row in rows] == [("Z", "3"), ("Z", "2"), ("Z", "1")]
    assert [row[2].endswith(reason) for row, reason in zip(rows, (FUTURE, FUTURE, MISSING), strict=True)] == [True] * 3
    assert cells(first.stdout)[0] == ["arrived", "partition", "offset", "replayed", "reason"]
    assert len(cells(limited.stdout)) == 151
    assert (one["value"], one["reason"]) == ("{}", MISSING)


def test_a_try_changes_nothing_one_letter_is_replayed_and_then_all_in_several_requests(
    letters: Run, events: Callable[[str], int], server: Server
) -> None:
    tried = letters("replay", "--all", "--dry-run")
    partition = str(orjson.loads(letters("list", "--json").stdout)[0]["partition"])

    one = letters("replay", "--partition", partition, "--offset", "2")
    counted = events("acme")
    rest = letters("replay", "--all")
    again = letters("replay", "--reason", "future")
    bad = letters("replay", "--offset", "1")

    assert (tried.returncode, tried.stdout) == (0, f"would replay {MANY + 2:,}, still invalid 1\n")
    assert tried.stderr.endswith(f": {MISSING}\n")
    assert (one.returncode, one.stdout) == (0, "replayed 1, still invalid 0\n")
    assert counted == 1
    assert (rest.returncode, rest.stdout) == (0, f"replayed {MANY + 1:,}, still invalid 1\n")
    assert (again.returncode, again.stdout) == (0, "replayed 0, still invalid 0\n")
    assert (
        again.stderr == "these options select no dead letter, or only letters that were replayed already\n"
    )  # like case S3
    assert (bad.returncode, bad.stdout) == (1, "replayed 0, still invalid 1\n")
    assert (events("acme"), events("many")) == (2, MANY)
    waiting = orjson.loads(letters("list", "--waiting", "--format", "json").stdout)
    assert [letter["offset"] for letter in waiting] == [1]
    assert "dead_letters_replayed replayed=1 still_invalid=0" in server.tail()


@pytest.mark.parametrize("arguments", [(), ("--all", "--reason", "id")], ids=["nothing", "all and some"])
def test_letters_must_be_chosen(letters: Run, arguments: tuple[str, ...]) -> None:
    refused = letters("replay", *arguments)

    assert refused.returncode == 2
    assert "give --all, or choose by --partition, --offset, --reason, --from and --to" in " ".join(
        refused.stderr.replace("│", " ").split()
    )


def test_the_commands_of_the_operations_page_print_what_it_shows(letters: Run) -> None:
    for (_, _, *arguments), shown in block("$ meterport dead-letters").sessions():
        ended = letters(*arguments)

        assert ended.returncode == 0, ended.stderr
        if arguments[0] == "replay":
            assert re.sub(r"\d[\d,]*\d|\d", "N", ended.stdout) == re.sub(r"\d[\d,]*\d|\d", "N", shown)
