"""The ClickHouse of the tests misbehaves on command, and can be stopped and continued like any process."""

import time
from pathlib import Path

import httpx
import pytest

from tests.harness.clickhouse import ClickHouse
from tests.harness.own_clickhouse import count_rows, http, run_sql, server, wait_until

__all__ = ["http", "server"]  # fixtures of another file


def _answers(server: ClickHouse) -> bool:
    try:
        return httpx.get(f"{server.url}/ping").is_success
    except httpx.ConnectError:
        return False


def test_refused(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("refuse", seconds=1)
    began = time.monotonic()

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/ping")
    with pytest.raises(httpx.TransportError):  # a connection that was already open
        run_sql(http, "SELECT 1")
    wait_until(lambda: _answers(server))

    assert time.monotonic() - began > 0.9


def test_refused_until_it_behaves(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("refuse", seconds=0.1)
    server.misbehave("refuse")
    time.sleep(0.3)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/ping")
    server.behave()

    assert httpx.get(f"{server.url}/ping").text == "Ok.\n"
    assert count_rows(http) == 0


def test_stalled_and_run_afterwards(http: httpx.Client, server: ClickHouse) -> None:
    before = server.struck("stall")
    server.misbehave("stall", statements=1)

    with pytest.raises(httpx.ReadTimeout):
        http.post("/", content="INSERT INTO t VALUES (1, 'late')", timeout=0.3)
    assert count_rows(http) == 0
    server.behave()

    wait_until(lambda: count_rows(http) == 1)
    assert server.struck("stall") == before + 1


def test_reset_before_the_statement_is_run(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("reset", statements=1)

    with pytest.raises(httpx.ReadError, match="reset by peer"):
        run_sql(http, "INSERT INTO t VALUES (1, 'x')")

    assert count_rows(http) == 0


def test_run_and_the_answer_lost(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("lose-answer", statements=1)

    with pytest.raises(httpx.ReadError, match="reset by peer"):
        run_sql(http, "INSERT INTO t VALUES (1, 'x')")

    assert count_rows(http) == 1


def test_an_error_of_choice_and_nothing_run(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("error", code=252, statements=2, inserts_only=True)

    assert count_rows(http) == 0
    answers = [http.post("/", content=f"INSERT INTO t VALUES ({at}, 'x')") for at in range(3)]

    assert [answer.headers.get("X-ClickHouse-Exception-Code") for answer in answers] == ["252", "252", None]
    assert run_sql(http, "SELECT a FROM t") == "2\n"


def test_faults_strike_as_often_as_they_are_told_to(http: httpx.Client, server: ClickHouse) -> None:
    struck = []
    for _ in range(2):
        server.misbehave("error", probability=0.25, seed=5)
        struck.append([http.post("/", content="SELECT 1").status_code == 500 for _ in range(80)])
        server.behave()

    assert struck[0] == struck[1]
    assert 10 <= sum(struck[0]) <= 30
    assert run_sql(http, "SELECT 1") == "1\n"


# --- a process --------------------------------------------------------------------------------------------------------


def test_a_stopped_one_answers_when_it_continues(http: httpx.Client, server: ClickHouse) -> None:
    server.stop_signal()
    with pytest.raises(httpx.ReadTimeout):
        http.post("/", content="SELECT 1", timeout=0.3)
    server.continue_()

    assert run_sql(http, "SELECT 1") == "1\n"


def test_one_that_cannot_start_says_why(tmp_path: Path, server: ClickHouse) -> None:
    other = ClickHouse(tmp_path)
    other._port = server._port

    with pytest.raises(AssertionError, match=r"(?s)does not answer.*Address already in use"):
        other.start()
