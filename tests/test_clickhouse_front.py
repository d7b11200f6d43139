"""The ClickHouse front of the tests answers like a server in all that Meterport uses."""

import gzip
import json
import socket
import threading

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.compression import available_compression, comp_map, get_compressor

from tests.harness.clickhouse import ClickHouse, ClickHouseServer
from tests.harness.clickhouse_statements import FIELD_BYTES
from tests.harness.own_clickhouse import count_rows, http, run_sql, server, wait_until

__all__ = ["http", "server"]  # fixtures of another file


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
    assert run_sql(http, "SELECT 1") == "1\n"


def test_a_setting_of_the_url_is_in_force_for_its_request_alone(http: httpx.Client) -> None:
    asked = "SELECT value, changed FROM system.settings WHERE name = 'insert_deduplication_token'"

    assert run_sql(http, asked, **{"insert_deduplication_token": "a'b\\c"}) == "a\\'b\\\\c\t1\n"
    assert run_sql(http, asked) == "\t0\n"
    assert http.post("/", content="SELECT 1", params={"nothing": "1"}).headers["X-ClickHouse-Exception-Code"] == "115"


def test_what_is_no_setting_is_taken_and_has_no_effect(http: httpx.Client) -> None:
    taken = dict.fromkeys(["session_id", "query_id", "quota_key", "client_protocol_version", "user", "password"], "1")

    answer = http.post("/", content="SELECT 1", params=taken | {"wait_end_of_query": "1", "buffer_size": "1"})

    assert (answer.text, answer.headers["X-ClickHouse-Query-Id"]) == ("1\n", "1")
    assert http.post("/", content="SELECT 1", params={"compress": "1"}).status_code == 501


def test_the_database_is_that_of_each_request(http: httpx.Client) -> None:
    run_sql(http, "CREATE DATABASE IF NOT EXISTS other")

    assert run_sql(http, "SELECT currentDatabase()", database="other") == "other\n"
    assert run_sql(http, "SELECT currentDatabase()") == "default\n"
    assert http.post("/", content="SELECT 1", params={"database": "nowhere"}).status_code == 404


def test_a_format_is_that_of_the_statement_of_the_url_or_tab_separated(http: httpx.Client) -> None:
    assert run_sql(http, "SELECT 1 AS a, 'x' AS b") == "1\tx\n"
    assert run_sql(http, "SELECT 1 AS a, 'x' AS b", default_format="JSONEachRow") == '{"a":1,"b":"x"}\n'
    assert run_sql(http, "SELECT 1 AS a, 'x' AS b FORMAT CSV", default_format="JSON") == '1,"x"\n'
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
    run_sql(http, ROWS, query=insert)
    run_sql(http, "INSERT INTO t (a, b) VALUES (3, 'z'), (4, 'FORMAT CSV\n')")
    run_sql(http, b"INSERT INTO t SETTINGS async_insert = 0 FORMAT RowBinary\n" + b"\x05" + b"\0" * 7 + b"\x02\n\0")
    http.post("/", content=iter([insert.encode(), b"\n", ROWS[:7], ROWS[7:]])).raise_for_status()

    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert run_sql(http, "SELECT a, count() FROM t GROUP BY a ORDER BY a") == "1\t3\n2\t3\n3\t1\n4\t1\n5\t1\n"
    assert run_sql(http, "SELECT b FROM t WHERE a > 3 ORDER BY a") == "FORMAT CSV\\n\n\\n\\0\n"


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

    assert count_rows(http) == 0


@pytest.mark.parametrize("encoding", sorted(comp_map.keys() & set(available_compression)))
def test_bodies_are_taken_compressed(http: httpx.Client, encoding: str) -> None:
    body = b"".join(
        _compressed(part, encoding) for part in (b"INSERT INTO t FORMAT JSONEachRow\n", ROWS[:20], ROWS[20:])
    )

    http.post("/", content=body, headers={"Content-Encoding": encoding}).raise_for_status()

    assert count_rows(http) == 2


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

    run_sql(http, b"INSERT INTO t FORMAT RowBinary\n" + row * (100_000_000 // len(row)))

    assert run_sql(http, "SELECT count(), sum(length(b)) FROM t") == f"{735_294}\t{735_294 * 127}\n"


def test_statements_run_beside_each_other(http: httpx.Client, server: ClickHouse) -> None:
    answers: list[str] = []

    def ask() -> None:
        answers.append(httpx.post(server.url, content="SELECT 8", timeout=60).raise_for_status().text)

    before = server.struck("stall")
    server.misbehave("stall", statements=8)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.struck("stall") == before + 8)

    assert run_sql(http, "SELECT 1") == "1\n"
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
