"""The ClickHouse front of the tests answers like a server in all that Meterport uses, and misbehaves on command."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.compression import available_compression, comp_map, get_compressor

from tests.harness.clickhouse import ClickHouse, ClickHouseServer
from tests.harness.clickhouse_statements import FIELD_BYTES


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    started = ClickHouse(tmp_path_factory.mktemp("front"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def http(server: ClickHouse) -> Iterator[httpx.Client]:
    """Yield a client of the server, which has no armed fault before and after. `t` is an empty table."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        _ask(client, "CREATE OR REPLACE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
        yield client
        server.behave()


def _ask(client: httpx.Client, statement: str | bytes, **fields: str) -> str:
    answer = client.post("/", content=statement, params=fields)
    assert answer.status_code == 200, answer.text
    return answer.text


def _answers(server: ClickHouse) -> bool:
    try:
        return httpx.get(f"{server.url}/ping").is_success
    except httpx.ConnectError:
        return False


def _count(client: httpx.Client) -> int:
    return int(_ask(client, "SELECT count() FROM t"))


# --- as a server answers ----------------------------------------------------------------------------------------------


def test_it_says_that_it_is_there(http: httpx.Client) -> None:
    assert http.get("/ping").text == "Ok.\n"
    assert http.get("/").text == "Ok.\n"


@pytest.mark.parametrize(
    ("statement", "code", "status", "name"),
    [
        ("SELEC 1", 62, 400, "SYNTAX_ERROR"),
        ("SELECT toInt32('x')", 6, 400, "CANNOT_PARSE_TEXT"),
        ("SELECT 1 FROM nowhere", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT nothing FROM t", 47, 404, "UNKNOWN_IDENTIFIER"),
        ("SELECT 1 SETTINGS nothing = 1", 115, 404, "UNKNOWN_SETTING"),
        ("SELECT throwIf(1)", 395, 500, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        (
            "SELECT sleepEachRow(1) FROM numbers(3) SETTINGS max_execution_time = 0.1, max_block_size = 1",
            159,
            408,
            "TIME",
        ),
    ],
)
def test_an_error_has_a_status_a_code_and_the_engines_text(
    http: httpx.Client, statement: str, code: int, status: int, name: str
) -> None:
    answer = http.post("/", content=statement)

    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert name in answer.text
    assert _ask(http, "SELECT 1") == "1\n"


def test_a_setting_of_the_url_is_in_force_for_its_request_alone(http: httpx.Client) -> None:
    asked = "SELECT value, changed FROM system.settings WHERE name = 'insert_deduplication_token'"

    assert _ask(http, asked, **{"insert_deduplication_token": "a'b\\c"}) == "a\\'b\\\\c\t1\n"
    assert _ask(http, asked) == "\t0\n"
    assert http.post("/", content="SELECT 1", params={"nothing": "1"}).headers["X-ClickHouse-Exception-Code"] == "115"


def test_what_is_no_setting_is_taken_and_has_no_effect(http: httpx.Client) -> None:
    taken = dict.fromkeys(["session_id", "query_id", "quota_key", "client_protocol_version", "user", "password"], "1")

    answer = http.post("/", content="SELECT 1", params=taken | {"wait_end_of_query": "1", "buffer_size": "1"})

    assert (answer.text, answer.headers["X-ClickHouse-Query-Id"]) == ("1\n", "1")
    assert http.post("/", content="SELECT 1", params={"compress": "1"}).status_code == 501


def test_the_database_is_that_of_each_request(http: httpx.Client) -> None:
    _ask(http, "CREATE DATABASE IF NOT EXISTS other")

    assert _ask(http, "SELECT currentDatabase()", database="other") == "other\n"
    assert _ask(http, "SELECT currentDatabase()") == "default\n"
    assert http.post("/", content="SELECT 1", params={"database": "nowhere"}).status_code == 404


def test_a_format_is_that_of_the_statement_of_the_url_or_tab_separated(http: httpx.Client) -> None:
    assert _ask(http, "SELECT 1 AS a, 'x' AS b") == "1\tx\n"
    assert _ask(http, "SELECT 1 AS a, 'x' AS b", default_format="JSONEachRow") == '{"a":1,"b":"x"}\n'
    assert _ask(http, "SELECT 1 AS a, 'x' AS b FORMAT CSV", default_format="JSON") == '1,"x"\n'
    answer = http.post("/", content="SELECT 1 AS a WHERE 0 FORMAT Native")
    assert (answer.headers["X-ClickHouse-Format"], answer.content) == ("Native", b"")


def test_get_only_reads(http: httpx.Client) -> None:
    assert http.get("/", params={"query": "SELECT count() FROM t"}).text == "0\n"
    refused = http.get("/", params={"query": "INSERT INTO t VALUES (1, 'x')"})
    assert refused.headers["X-ClickHouse-Exception-Code"] == "164"


def test_parameters_come_in_the_url_or_in_a_form_and_are_bound_as_they_are(http: httpx.Client) -> None:
    hostile = "\r\n--boundary\r\n\0 ü客😀 '; DROP TABLE t; --"
    statement = "SELECT {x:String}, {n:Array(UInt8)} FORMAT JSONCompactEachRow"
    bound = {"param_x": hostile.replace("\n", "\\n"), "param_n": "[1,2]"}

    in_form = http.post("/", files={"query": (None, statement)} | {name: (None, text) for name, text in bound.items()})
    in_url = http.post("/", content=statement, params=bound)

    assert json.loads(in_form.text) == json.loads(in_url.text) == [hostile, [1, 2]]


def test_a_field_longer_than_a_server_takes_is_refused(http: httpx.Client) -> None:
    statement = {"query": (None, "SELECT length({x:String})")}

    longest = http.post("/", files=statement | {"param_x": (None, "x" * FIELD_BYTES)})
    longer = http.post("/", files=statement | {"param_x": (None, "x" * (FIELD_BYTES + 1))})

    assert longest.text == f"{FIELD_BYTES}\n"
    assert (longer.status_code, longer.headers["X-ClickHouse-Exception-Code"]) == (500, "1000")
    assert "Field value too long" in longer.text


ROWS = b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n'


def test_rows_come_after_their_statement_or_with_it_in_the_url(http: httpx.Client) -> None:
    insert = "INSERT INTO t (a, b) FORMAT JSONEachRow"

    answer = http.post("/", content=insert.encode() + b"\n" + ROWS)
    _ask(http, ROWS, query=insert)
    _ask(http, "INSERT INTO t (a, b) VALUES (3, 'z'), (4, 'FORMAT CSV\n')")
    _ask(http, b"INSERT INTO t SETTINGS async_insert = 0 FORMAT RowBinary\n" + b"\x05" + b"\0" * 7 + b"\x02\n\0")
    http.post("/", content=iter([insert.encode(), b"\n", ROWS[:7], ROWS[7:]])).raise_for_status()

    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert _ask(http, "SELECT a, count() FROM t GROUP BY a ORDER BY a") == "1\t3\n2\t3\n3\t1\n4\t1\n5\t1\n"
    assert _ask(http, "SELECT b FROM t WHERE a > 3 ORDER BY a") == "FORMAT CSV\\n\n\\n\\0\n"


def _compressed(part: bytes, encoding: str) -> bytes:
    compressor = get_compressor(encoding)
    return bytes(compressor.compress_block(part) + (compressor.flush() or b""))


@pytest.mark.parametrize("head", ["Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n60\r\n"])
def test_what_a_client_began_to_send_and_did_not_end_is_not_run(
    http: httpx.Client, server: ClickHouse, head: str
) -> None:
    sent = f"POST / HTTP/1.1\r\nHost: x\r\n{head}INSERT INTO t FORMAT JSONEachRow\n{ROWS.decode()}"
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)) as client:
        client.sendall(sent.encode())
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""

    assert _count(http) == 0


@pytest.mark.parametrize("encoding", sorted(comp_map.keys() & set(available_compression)))
def test_bodies_are_taken_compressed(http: httpx.Client, encoding: str) -> None:
    body = b"".join(
        _compressed(part, encoding) for part in (b"INSERT INTO t FORMAT JSONEachRow\n", ROWS[:20], ROWS[20:])
    )

    http.post("/", content=body, headers={"Content-Encoding": encoding}).raise_for_status()

    assert _count(http) == 2


def test_answers_are_compressed_for_who_asks(http: httpx.Client) -> None:
    asked = {"Accept-Encoding": "gzip"}
    with http.stream("POST", "/", content="SELECT 'x' FROM numbers(10000)", headers=asked) as answer:
        raw = b"".join(answer.iter_raw())

    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw) == b"x\n" * 10_000
    plain = http.post("/", content="SELECT 1", headers=asked, params={"enable_http_compression": "0"})
    assert "Content-Encoding" not in plain.headers


def test_an_insert_of_a_hundred_megabytes(http: httpx.Client) -> None:
    row = (7).to_bytes(8, "little") + b"\x7f" + b"r" * 127

    _ask(http, b"INSERT INTO t FORMAT RowBinary\n" + row * (100_000_000 // len(row)))

    assert _ask(http, "SELECT count(), sum(length(b)) FROM t") == f"{735_294}\t{735_294 * 127}\n"


def test_statements_run_beside_each_other(http: httpx.Client, server: ClickHouse) -> None:
    answers: list[str] = []

    def ask() -> None:
        answers.append(httpx.post(server.url, content="SELECT 8", timeout=60).raise_for_status().text)

    before = server.struck("stall")
    server.misbehave("stall", statements=8)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    _wait_until(lambda: server.struck("stall") == before + 8)

    assert _ask(http, "SELECT 1") == "1\n"
    assert answers == []
    server.behave()
    for thread in threads:
        thread.join()
    assert answers == ["8\n"] * 8


def test_clickhouse_connect_finds_a_server(clickhouse_server: ClickHouseServer) -> None:
    with clickhouse_connect.get_client(dsn=clickhouse_server.url) as client:
        assert client.ping()
        assert client.query("SELECT number, toString(number) FROM numbers(2)").result_rows == [(0, "0"), (1, "1")]
        assert client.command("SELECT 1 WHERE 0") == ""


# --- faults -----------------------------------------------------------------------------------------------------------


def test_refused(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("refuse", seconds=1)
    began = time.monotonic()

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/ping")
    with pytest.raises(httpx.TransportError):  # a connection that was already open
        _ask(http, "SELECT 1")
    _wait_until(lambda: _answers(server))

    assert time.monotonic() - began > 0.9


def test_refused_until_it_behaves(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("refuse", seconds=0.1)
    server.misbehave("refuse")
    time.sleep(0.3)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/ping")
    server.behave()

    assert httpx.get(f"{server.url}/ping").text == "Ok.\n"
    assert _count(http) == 0


def test_stalled_and_run_afterwards(http: httpx.Client, server: ClickHouse) -> None:
    before = server.struck("stall")
    server.misbehave("stall", statements=1)

    with pytest.raises(httpx.ReadTimeout):
        http.post("/", content="INSERT INTO t VALUES (1, 'late')", timeout=0.3)
    assert _count(http) == 0
    server.behave()

    _wait_until(lambda: _count(http) == 1)
    assert server.struck("stall") == before + 1


def test_reset_before_the_statement_is_run(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("reset", statements=1)

    with pytest.raises(httpx.ReadError, match="reset by peer"):
        _ask(http, "INSERT INTO t VALUES (1, 'x')")

    assert _count(http) == 0


def test_run_and_the_answer_lost(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("lose-answer", statements=1)

    with pytest.raises(httpx.ReadError, match="reset by peer"):
        _ask(http, "INSERT INTO t VALUES (1, 'x')")

    assert _count(http) == 1


def test_an_error_of_choice_and_nothing_run(http: httpx.Client, server: ClickHouse) -> None:
    server.misbehave("error", code=252, statements=2, inserts_only=True)

    assert _count(http) == 0
    answers = [http.post("/", content=f"INSERT INTO t VALUES ({at}, 'x')") for at in range(3)]

    assert [answer.headers.get("X-ClickHouse-Exception-Code") for answer in answers] == ["252", "252", None]
    assert _ask(http, "SELECT a FROM t") == "2\n"


def test_faults_strike_as_often_as_they_are_told_to(http: httpx.Client, server: ClickHouse) -> None:
    struck = []
    for _ in range(2):
        server.misbehave("error", probability=0.25, seed=5)
        struck.append([http.post("/", content="SELECT 1").status_code == 500 for _ in range(80)])
        server.behave()

    assert struck[0] == struck[1]
    assert 10 <= sum(struck[0]) <= 30
    assert _ask(http, "SELECT 1") == "1\n"


# --- a process --------------------------------------------------------------------------------------------------------


def test_what_was_answered_outlives_a_kill_and_the_address_stays(tmp_path: Path) -> None:
    own = ClickHouse(tmp_path)
    for round_ in range(3):
        own.start()
        with httpx.Client(base_url=own.url, timeout=30) as client:
            _ask(client, "CREATE TABLE IF NOT EXISTS kept (a UInt64) ENGINE = MergeTree ORDER BY a")
            _ask(client, f"INSERT INTO kept VALUES ({round_})")
            assert _ask(client, "SELECT count() FROM kept") == f"{round_ + 1}\n"
            own.kill() if round_ else own.terminate()
        assert not own.running


def test_a_stopped_one_answers_when_it_continues(http: httpx.Client, server: ClickHouse) -> None:
    server.stop_signal()
    with pytest.raises(httpx.ReadTimeout):
        http.post("/", content="SELECT 1", timeout=0.3)
    server.continue_()

    assert _ask(http, "SELECT 1") == "1\n"


def test_one_that_cannot_start_says_why(tmp_path: Path, server: ClickHouse) -> None:
    other = ClickHouse(tmp_path)
    other._port = server._port

    with pytest.raises(AssertionError, match=r"(?s)does not answer.*Address already in use"):
        other.start()


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
