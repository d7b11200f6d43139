"""The command line, run as separate processes, with and without a running server."""

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import typer

from engine.store.data_directory import DirectoryLock
from meterport import cli
from meterport.client import ApiClient
from meterport.client_errors import Refusal
from tests.harness.command import meterport
from tests.harness.server import Server

ROOT = Path(__file__).resolve().parent.parent
KEY = "a-management-key"
DAYS = "from,to,subject,model,value"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("console"), variables={"METERPORT_API_KEY": KEY})
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def served(server: Server) -> Run:
    """Run a command against the running server."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return meterport(*arguments, "--server", str(server.url), variables={"METERPORT_API_KEY": KEY})

    return run


@pytest.fixture(scope="module")
def usage(served: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a meter with three events. Return the directory that keeps the position of the import."""
    directory = tmp_path_factory.mktemp("usage")
    (directory / "usage.csv").write_text(
        "customer,at,model,tokens\n"
        "acme,2026-03-01 01:00,gpt,0.1\n"
        "acme,2026-03-02 01:00,gpt,0.2\n"
        "[bold]bob,2026-03-01 01:00,ada,12345678901234567890.5\n"
    )
    created = served(
        "meters", "create", "tokens", "--event-type", "use", "--aggregation", "sum",
        "--value-property", "$.tokens", "--group-by", "model", "--group-by", "kind=$.llm.kind", "--name", "Tokens",
    )  # fmt: skip
    assert created.returncode == 0, created.stderr
    imported = served(
        "import", str(directory / "usage.csv"), "--type", "use", "--subject", "column:customer",
        "--time", "column:at", "--time-zone", "Europe/Berlin", "--data-dir", str(directory),
    )  # fmt: skip
    assert imported.stdout.startswith("read 3 rows, stored 3, already stored 0, skipped 0, in "), imported.stderr
    return directory


def cells(table: str) -> list[list[str]]:
    """Return the cells of a printed table, without its horizontal rule."""
    return [line.split() for line in table.splitlines() if line.strip() and "──" not in line]


# usage


@pytest.mark.usefixtures("usage")
def test_usage_as_a_table(served: Run) -> None:
    answer = served(
        "query", "tokens", "--from", "2026-03-01", "--to", "2026-03-03", "--window-size", "day",
        "--time-zone", "Europe/Berlin", "--group-by", "subject", "--group-by", "model",
    )  # fmt: skip

    assert answer.returncode == 0, answer.stderr
    first, second, third = "2026-03-01T00:00:00+01:00", "2026-03-02T00:00:00+01:00", "2026-03-03T00:00:00+01:00"
    assert cells(answer.stdout) == [
        ["from", "to", "subject", "model", "value"],
        [first, second, "[bold]bob", "ada", "12345678901234567890.5"],
        [first, second, "acme", "gpt", "0.1"],
        [second, third, "acme", "gpt", "0.2"],
    ]


@pytest.mark.usefixtures("usage")
def test_usage_as_the_apis_json(served: Run) -> None:
    answer = served(
        "query", "tokens", "--subject", "acme", "--subject", "[bold]bob", "--filter", "model=gpt", "--format", "json"
    )

    assert '"value":0.3,' in answer.stdout
    assert [row["subject"] for row in orjson.loads(answer.stdout)["data"]] == ["acme"]


@pytest.mark.usefixtures("usage")
def test_usage_as_csv(served: Run) -> None:
    answer = served(
        "query", "tokens", "--group-by", "model", "--filter", "model=gpt", "--filter", "model=ada", "--format", "csv"
    )

    assert answer.stdout == (
        "window_start,window_end,model,value\n"
        "2026-03-01T00:00:00Z,2026-03-01T00:01:00Z,ada,12345678901234567890.5\n"
        "2026-03-01T00:00:00Z,2026-03-02T00:01:00Z,gpt,0.3\n"
    )


def test_usage_as_csv_stays_exact(served: Run, tmp_path: Path) -> None:
    """N12, N24: programs read it, so it has no byte order mark and no cell is changed for spreadsheets."""
    (tmp_path / "formulas.csv").write_text("at,model,n\n2026-03-01T01:00:00Z,=1+2,-5\n2026-03-01T01:00:00Z,@Müller,3\n")
    created = served(
        "meters", "create", "formulas", "--event-type", "formula", "--aggregation", "sum", "--value-property", "$.n",
        "--group-by", "model",
    )  # fmt: skip
    assert created.returncode == 0, created.stderr
    imported = served(
        "import", str(tmp_path / "formulas.csv"), "--type", "formula", "--subject", "acme", "--time", "column:at",
        "--data-dir", str(tmp_path),
    )  # fmt: skip
    assert imported.returncode == 0, imported.stderr

    answer = served("query", "formulas", "--group-by", "model", "--format", "csv")
    assert served("meters", "delete", "formulas").returncode == 0  # other tests list the meters of this server

    assert answer.stdout == (
        "window_start,window_end,model,value\n"
        "2026-03-01T01:00:00Z,2026-03-01T01:01:00Z,=1+2,-5\n"
        "2026-03-01T01:00:00Z,2026-03-01T01:01:00Z,@Müller,3\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("query", "nope"), 1, "meterport: not found error: meter not found: nope\n"),
        (("query", "tokens", "--group-by", "x"), 1, "meterport: validation error: invalid group by: x\n"),
        (("query", "tokens", "--from", "May"), 1, "meterport: 'May' is not a time: expected a time such as 2026-03-01"),
        (("query", "tokens", "--from", ""), 1, "meterport: '' is not a time: "),  # as from an empty shell variable
        (("query", "tokens", "--to", ""), 1, "meterport: '' is not a time: "),
        (("dead-letters", "replay", "--from", "", "--to", "2026-03-01"), 1, "meterport: '' is not a time: "),
        (("query", "tokens", "--time-zone", "Mars"), 1, "meterport: unknown time zone 'Mars'"),
        (
            ("meters", "create", "m", "--event-type=e", "--aggregation=COUNT", "--group-by=a", "--group-by=a=$.b"),
            2,
            "--group-by a is given twice",
        ),
        (("query", "tokens", "--filter", "model"), 2, "--filter must be KEY=VALUE, not model"),
        (("token", "create", "a", "--expires", "99999999d"), 1, "from now is after the year 9999"),
        (("token", "create", "a", "--meter", "nope"), 1, "meterport: not found error: meter not found: nope\n"),
        (("token", "invalidate"), 2, "give --id, --subject or --issued-before"),
        (("import", "nope.csv"), 1, "meterport: nope.csv: No such file or directory\n"),
        (("import", "Makefile"), 1, "meterport: Makefile: unknown file type"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("usage")
def test_what_goes_wrong_is_one_clear_line(served: Run, arguments: tuple[str, ...], status: int, message: str) -> None:
    answer = served(*arguments)

    assert (answer.returncode, answer.stdout) == (status, "")
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_second_import_sends_nothing(served: Run, usage: Path) -> None:
    again = served(
        "import", str(usage / "usage.csv"), "--type", "use", "--subject", "column:customer",
        "--time", "column:at", "--time-zone", "Europe/Berlin", "--data-dir", str(usage),
    )  # fmt: skip

    assert again.stdout.startswith("read 0 rows, stored 0, already stored 0, skipped 0, in ")
    assert again.stdout.endswith(" s (3 rows were read by an earlier run)\n")


def test_invalid_rows_are_told_and_counted(served: Run, tmp_path: Path) -> None:
    path, position = tmp_path / "bad.csv", ("--data-dir", str(tmp_path))
    path.write_text("at\n2026-01-01\nyesterday\n")
    mapped = ("import", str(path), "--type", "odd", "--subject", "s", "--time", "column:at", *position)

    stopped = served(*mapped)
    skipping = served(*mapped, "--restart", "--skip-invalid")
    path.write_text("at\nyesterday\n")
    nothing = served(*mapped, "--skip-invalid")

    assert (stopped.returncode, stopped.stderr) == (
        1,
        f"meterport: {path}: row 2: time 'yesterday' is not a time: expected a time such as 2026-03-01T12:30:00 or "
        "2026-03-01, or one with an offset (1 row before it is stored; with another mapping it is counted again)\n",
    )
    assert (skipping.returncode, skipping.stdout[:51]) == (0, "read 2 rows, stored 0, already stored 1, skipped 1,")
    assert skipping.stderr.startswith("bad.csv: row 2 left out: time 'yesterday' is not a time")
    assert nothing.returncode == 1


# tokens and meters


def test_a_token_from_its_making_to_its_end(served: Run, server: Server, usage: Path) -> None:  # noqa: ARG001
    before = orjson.loads(served("token", "list", "--format", "json").stdout)
    made = served("token", "create", "acme", "--meter", "tokens", "--expires", "2h")
    token = made.stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    seen = httpx.get(f"{server.url}/api/v1/portal/meters/tokens/query", headers=headers)
    listed = served("token", "list", "--subject", "acme")
    member, *others = orjson.loads(served("token", "list", "--format", "json").stdout)
    ended = served("token", "invalidate", "--id", member["id"])
    refused = httpx.get(f"{server.url}/api/v1/portal/meters/tokens/query", headers=headers)

    assert token.startswith("om_portal_")
    assert others == before
    assert token not in made.stderr
    assert seen.json()["data"][0]["value"] == 0.3
    assert cells(listed.stdout)[1][1:3] == ["acme", "tokens"]
    assert cells(listed.stdout)[1][-1] == "valid"
    assert ended.returncode == 0
    assert refused.status_code == 401
    assert cells(served("token", "list").stdout)[1][-1] == "revoked"


def test_every_token_issued_before_a_time_is_invalidated(served: Run, server: Server, usage: Path) -> None:  # noqa: ARG001
    """Case S3: this is needed after a restore."""
    headers = {"Authorization": f"Bearer {served('token', 'create', 'acme').stdout.strip()}"}
    url = f"{server.url}/api/v1/portal/meters"
    assert httpx.get(url, headers=headers).status_code == 200

    refused = served("token", "invalidate", "--issued-before", "2999-01-01")
    both = served("token", "invalidate", "--issued-before", "2026-01-01", "--subject", "acme")
    long_ago = served("token", "invalidate", "--issued-before", "2026-01-01")
    still = httpx.get(url, headers=headers).status_code
    now = served("token", "invalidate", "--issued-before", "now")

    assert (refused.returncode, both.returncode) == (1, 1)
    assert "issuedBefore must not be in the future" in refused.stderr
    assert "issuedBefore applies to every token: it cannot be combined with id or subject" in both.stderr
    assert (long_ago.returncode, still, now.returncode) == (0, 200, 0)
    assert httpx.get(url, headers=headers).status_code == 401
    assert cells(served("token", "list").stdout)[1][-1] == "revoked"


@pytest.mark.parametrize(("path", "noted"), [("$.items[*].qty", True), ("$.a[0 to 2]", True), ("$.a[0].qty", False)])
def test_a_meter_that_counts_the_first_of_many_values_is_made_with_a_note(
    tmp_path: Path, path: str, noted: bool
) -> None:
    """N30: if the user wanted the sum of all values, the usage is too low, and no listing shows it."""
    options = ("--event-type", "cart", "--aggregation", "sum", "--value-property", path)

    made = meterport("meters", "create", "cart", *options, "--data-dir", str(tmp_path))

    note = f"note: {path} can match several values of an event; only the first one counts, not their sum\n"
    assert (made.returncode, made.stderr) == (0, note if noted else "")


@pytest.mark.usefixtures("usage")
def test_meters_are_listed(served: Run) -> None:
    assert cells(served("meters", "list").stdout) == [
        ["slug", "aggregation", "event", "type", "value", "group", "by"],
        ["tokens", "SUM", "use", "$.tokens", "model,", "kind"],
    ]
    (meter,) = orjson.loads(served("meters", "list", "--format", "json").stdout)
    assert (meter["name"], meter["groupBy"]) == ("Tokens", {"model": "$.model", "kind": "$.llm.kind"})


# which server


def test_without_a_server_the_command_runs_one_itself(tmp_path: Path) -> None:
    directory = ("--data-dir", str(tmp_path / "data"))
    config = tmp_path / "meterport.yaml"
    config.write_text(f"api_key_sha256: {'f' * 64}\n")  # no client has this key, and none needs it here

    made = meterport("meters", "create", "calls", "--event-type=call", "--aggregation=COUNT", *directory)
    listed = meterport("meters", "list", *directory, "--config", str(config))
    deleted = meterport("meters", "delete", "calls", *directory)
    gone = meterport("meters", "list", "--format=json", *directory)

    assert (made.returncode, made.stderr) == (0, "")
    assert cells(listed.stdout)[1] == ["calls", "COUNT", "call"]
    assert (deleted.returncode, deleted.stderr) == (0, "deleted meter calls\n")
    assert orjson.loads(gone.stdout) == []


def test_a_command_finds_the_process_that_has_the_directory(server: Server) -> None:
    """The process has chosen a free port, and the command finds that port."""
    directory = ("--data-dir", str(server.directory / "data"))

    found = meterport("meters", "list", *directory, variables={"METERPORT_API_KEY": KEY})
    no_key = meterport("meters", "list", *directory)

    assert found.returncode == 0, found.stderr
    assert (no_key.returncode, no_key.stderr) == (
        1,
        "meterport: missing authorization header; the key comes from the setting api_key (METERPORT_API_KEY)\n",
    )


def test_a_process_that_has_the_directory_but_does_not_answer(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.announce("http://127.0.0.1:1")

    answer = meterport("meters", "list", "--data-dir", str(tmp_path))

    lock.release()
    assert answer.returncode == 1
    assert answer.stderr.startswith("meterport: no answer from http://127.0.0.1:1: ")
    assert "is in use by another meterport process" in answer.stderr
    assert answer.stderr.endswith(": give its URL with --server\n")


@pytest.mark.parametrize("url", ["http://192.0.2.1:8888", "http://[2001:db8::1]:8888", "http://evil.example:8888", "x"])
def test_the_key_goes_to_no_other_machine_that_a_lock_names(tmp_path: Path, url: str) -> None:
    """Like case S11: otherwise everyone who can write the file could make commands send them the API key."""
    lock = DirectoryLock(tmp_path)
    lock.announce(url)

    answer = meterport("meters", "list", "--data-dir", str(tmp_path), variables={"METERPORT_API_KEY": KEY})

    lock.release()
    assert answer.returncode == 78
    assert answer.stderr.startswith(
        f"meterport: data_dir: its lock names {url}, which is not an address of this machine; "
    )
    assert answer.stderr.endswith(": give its URL with --server\n")


def _a_file(directory: Path) -> None:
    directory.write_text("")


def _a_lock_that_cannot_be_written(directory: Path) -> None:
    (directory / "lock").mkdir(parents=True)


def _a_store_that_is_none(directory: Path) -> None:
    directory.mkdir()
    (directory / "store").write_text("")


def _an_event_log_that_is_none(directory: Path) -> None:
    directory.mkdir()
    (directory / "log.sqlite").write_text("no database, " * 10)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (_a_file, "{} is not a directory"),
        (_a_lock_that_cannot_be_written, "cannot use {}: Is a directory"),
        (_an_event_log_that_is_none, "cannot keep the event log in {}/log.sqlite: file is not a database"),
        (_a_store_that_is_none, "Unable to open the chdb engine at '{}/store': "),
    ],
)
def test_a_data_directory_that_cannot_be_used(tmp_path: Path, made: Callable[[Path], None], told: str) -> None:
    directory = tmp_path / "data"
    made(directory)

    answer = meterport("serve", "--port", "0", "--data-dir", str(directory))

    assert answer.returncode == 78
    assert answer.stderr.splitlines()[-1].startswith(f"meterport: data_dir: {told.format(directory)}")
    assert "Traceback" not in answer.stderr
    assert "Stack trace" not in answer.stderr


def test_a_server_that_is_none_of_ours(tmp_path: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(502)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        answer = meterport("meters", "list", "--server", url, "--data-dir", str(tmp_path))
        other.shutdown()

    assert (answer.returncode, answer.stderr) == (1, f"meterport: {url}/api/v1/meters answers 502 Bad Gateway\n")


def test_a_path_too_many_in_the_servers_url_is_seen(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/api/v1"

    answer = meterport("meters", "list", "--server", url, "--data-dir", str(tmp_path))

    assert (answer.returncode, answer.stderr) == (1, f"meterport: Not Found: {url}/api/v1/meters\n")


def test_a_busy_engine_is_waited_out() -> None:
    answers = [(503, {"Retry-After": "0"}), (503, {"Retry-After": "0"}), (204, {})]
    bodies: list[bytes] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers = answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Busy) as busy:
        threading.Thread(target=busy.serve_forever, daemon=True).start()
        client = ApiClient(f"http://127.0.0.1:{busy.server_port}", None)
        refused = client.send_events([b'{"id":1}', b'{"id":2}'])
        with pytest.raises(Refusal):
            answers.append((400, {}))
            client.send_events([b"{}"])
        client.close()
        busy.shutdown()

    assert refused == {}
    assert bodies == [b'[{"id":1},{"id":2}]'] * 3 + [b"[{}]"]


def test_a_server_that_does_not_know_its_lag_yet_has_not_stored_everything() -> None:
    """A server that is started again after a kill must join its consumer group first."""
    metrics = [("NaN", 0), ("NaN", 0), ("3.0", 0), ("3.0", 0), ("NaN", 0), ("0.0", 3)]
    told: list[int] = []

    class Started(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lag, stored = metrics.pop(0) if self.path == "/metrics" else ("0", 0)
            totals = {"events_stored": stored, "events_duplicate": 0, "dead_letters": 0}
            lines = [f"meterport_log_records {lag}", *(f"meterport_{name}_total {n}" for name, n in totals.items())]
            body = "\n".join(lines).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Started) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        client = ApiClient(f"http://127.0.0.1:{started.server_port}", None)
        client.wait_until_stored(told.append)
        client.close()
        started.shutdown()

    assert (told, metrics) == ([3], [])


# settings


def test_config_show_masks_secrets_and_names_sources(tmp_path: Path) -> None:
    config = tmp_path / "meterport.yaml"
    config.write_text(
        "api_key: top-secret-key\n"
        "portal: {token_keys: [the-newest-signing-key, the-older-signing-key]}\n"
        "store: {url: 'http://user:password@db:8123'}\n"
        "server: {port: 9999}\n"
        "meters: [{slug: calls, eventType: call, aggregation: COUNT}]\n"
        "kafka: {sasl_password: abracadabra, options: {ssl.key.pem: abracadabra}, security_protocol: SASL_SSL}\n"
    )

    shown = meterport(
        "config", "show", "--config", str(config), "--data-dir", "elsewhere",
        variables={
            "METERPORT_LOG_LEVEL": "debug",
            "METERPORT_INGEST": '{"batch_rows": 5}',
            "METERPORT_KAFKA__SASL_MECHANISM": "PLAIN",
        },
    )  # fmt: skip

    assert shown.returncode == 0, shown.stderr
    for secret in ("top-secret", "signing-key", "user:", "db:8123", "abracadabra"):
        assert secret not in shown.stdout
    lines = shown.stdout.splitlines()
    assert f"api_key: '**********'  # from {config}" in lines
    assert f"  port: 9999  # from {config}" in lines
    assert "data_dir: elsewhere  # from the command line" in lines
    assert "log_level: debug  # from METERPORT_LOG_LEVEL" in lines
    assert "  batch_rows: 5  # from METERPORT_INGEST" in lines
    assert "  host: 127.0.0.1" in lines
    assert "- slug: calls" in lines
    assert f"  sasl_password: '**********'  # from {config}" in lines
    assert "  sasl_mechanism: PLAIN  # from METERPORT_KAFKA__SASL_MECHANISM" in lines
    assert "    ssl.key.pem: '**********'" in lines


@pytest.mark.parametrize(
    ("yaml", "variables", "line"),
    [
        ("colour: red\n", {}, "meterport: colour: unknown setting (in the configuration file)\n"),
        ("server: {port: -1}\n", {}, "meterport: server.port: Input should be greater than or equal to 0"),
        ("- 1\n", {}, "must contain settings by name\n"),
        ("a: [\n", {}, "is not YAML: "),
        ("", {"METERPORT_COLOUR": "red"}, "meterport: METERPORT_COLOUR: no such setting\n"),
        ("", {"METERPORT_LOG__MAX_BYTES": "lots"}, "meterport: log.max_bytes: "),
        ("", {"METERPORT_STORE__URL": ""}, "meterport: store.url: must be http(s)://user:password@host:port\n"),
        ("", {"METERPORT_STORE__URL": "clickhouse:8123"}, "meterport: store.url: must be http(s)://"),
        ("", {"METERPORT_STORE__URL": "http://clickhouse:http"}, "meterport: store.url: must be http(s)://"),
        ("", {"METERPORT_KAFKA__BROKERS": ""}, "meterport: kafka.brokers: String should have at least 1 character"),
    ],
    ids=[
        *("unknown", "out of range", "no mapping", "no YAML", "unknown variable", "no number"),
        *("no store", "no scheme", "no port", "no brokers"),
    ],
)
def test_bad_settings_end_with_78_and_one_line(tmp_path: Path, yaml: str, variables: dict[str, str], line: str) -> None:
    config = tmp_path / "meterport.yaml"
    config.write_text(yaml)

    for command in (("config", "show"), ("meters", "list")):
        answer = meterport(*command, "--config", str(config), variables=variables)
        assert (answer.returncode, answer.stdout) == (78, "")
        assert line in answer.stderr
        assert answer.stderr.count("\n") == 1


GOOD = "  - {slug: good, eventType: call, aggregation: COUNT}\n"


@pytest.fixture(scope="module")
def unmade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a data directory, and check at the end that it has no meter."""
    directory = tmp_path_factory.mktemp("unmade") / "data"
    yield directory
    assert meterport("meters", "list", "--format", "json", data_dir=directory).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{slug: m, eventType: _internal, aggregation: COUNT}", ".eventType: event type '_internal' matched reserved"),
        ("{slug: m, eventType: call, aggregation: COUNT, groupby: {}}", ".groupby: no such member of a meter"),
        ("{slug: m, eventType: call, aggregation: COUNT, descripton: x}", ".descripton: no such member of a meter"),
        ("{slug: m, aggregation: COUNT}", ".eventType: Field required"),
        ("{slug: m, eventType: call, aggregation: TOTAL}", ".aggregation: Input should be 'SUM', "),
        ("{slug: m, eventType: call, aggregation: SUM}", ": invalid meter aggregation: meter value property is req"),
        ("{slug: m, eventType: call, aggregation: SUM, valueProperty: $..a}", ": invalid JSONPath: $..a"),
        ("{slug: good, eventType: call, aggregation: COUNT}", ".slug: duplicate slug good"),
    ],
    ids=["reserved", "case", "misspelt", "missing", "enum", "rule", "path", "twice"],
)
def test_a_wrong_meter_of_the_settings_ends_the_start_before_any_is_made(
    tmp_path: Path, unmade: Path, wrong: str, told: str
) -> None:
    """Contract 2.1: the API's checks apply to it, and the message names its place in the settings."""
    config = tmp_path / "meterport.yaml"
    config.write_text(f"reserved_event_types: ['^_']\nmeters:\n{GOOD}  - {wrong}\n")

    started = meterport("meters", "list", "--config", str(config), data_dir=unmade)

    assert (started.returncode, started.stdout) == (78, "")
    assert started.stderr.startswith(f"meterport: meters[1]{told}")
    assert started.stderr.count("\n") == 1


KAFKA, STORE = "METERPORT_KAFKA__BROKERS", "METERPORT_STORE__URL"


@pytest.mark.parametrize("command", ["api", "ingest"])
@pytest.mark.parametrize(
    ("variables", "missing"),
    [({}, "store.url"), ({KAFKA: "127.0.0.1:1"}, "store.url"), ({STORE: "http://127.0.0.1:1"}, "kafka.brokers")],
    ids=["neither", "no store", "no brokers"],
)
def test_a_part_of_meterport_says_which_setting_it_lacks(command: str, variables: dict[str, str], missing: str) -> None:
    keys = {"METERPORT_PORTAL__TOKEN_KEYS": '["a-signing-key-of-tests"]'}

    answer = meterport(command, variables={**keys, **variables})

    assert (answer.returncode, answer.stdout) == (78, "")
    assert answer.stderr == (
        f"meterport: {missing}: `meterport {command}` needs it; without it, use `meterport serve`\n"
    )


def test_ingest_needs_no_api_key_wherever_the_api_listens() -> None:
    """All processes may share one settings file. `ingest` listens only on the telemetry port."""
    shared = {
        "METERPORT_SERVER__HOST": "192.0.2.1",
        "METERPORT_PORTAL__TOKEN_KEYS": '["a-signing-key-of-tests"]',
        KAFKA: "127.0.0.1:1",
    }

    ingest = meterport("ingest", variables={**shared, STORE: "http://127.0.0.1:1"})
    api = meterport("api", variables={**shared, STORE: "http://127.0.0.1:1"})

    assert ingest.returncode == 1
    assert "api_key" not in ingest.stderr
    assert ingest.stderr.splitlines()[-1].startswith("meterport: ")  # the store cannot be reached
    assert (api.returncode, api.stderr) == (
        78,
        "meterport: server.host: 192.0.2.1 is not loopback and no api_key is set\n",
    )


# help


def test_every_option_of_every_command_is_explained() -> None:
    commands = list(walk(typer.main.get_command(cli.app), "meterport"))

    processes = {"meterport serve", "meterport api", "meterport ingest"}
    assert {path for path, _ in commands} == processes | {
        "meterport query", "meterport import", "meterport config show",
        "meterport meters list", "meterport meters create", "meterport meters delete",
        "meterport token create", "meterport token list", "meterport token invalidate",
        "meterport dead-letters list", "meterport dead-letters replay",
    }  # fmt: skip
    for path, command in commands:
        text = command.get_help(command.make_context(path, [], resilient_parsing=True))
        assert command.help, path
        assert path in processes or re.search(r"^  Examples?:", text, re.MULTILINE), path
        for parameter in command.params:
            assert parameter.help, f"{path} {parameter.name}"
            assert parameter.name == "path" or any(option in text for option in parameter.opts), (
                f"{path} {parameter.name}"
            )


def test_the_list_of_commands_says_of_each_what_its_own_help_says_first() -> None:
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        first = command.help.split("\n\n")[0].replace("\n", " ")
        assert cli.COMMANDS[name][2] == first, name


HEAVY = {"chdb", "clickhouse_connect", "confluent_kafka", "numpy", "pyarrow", "starlette", "uvicorn"}
LIST = ("token", "list", "--server", "http://127.0.0.1:1")


@pytest.mark.parametrize(("arguments", "status"), [(("--help",), 0), (("query", "--help"), 0), (LIST, 1)])
def test_a_command_loads_only_what_it_needs(arguments: tuple[str, ...], status: int) -> None:
    """A command that calls a server needs neither the store nor Kafka, which take a second to import."""
    show = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    program = f"{show}import meterport; meterport.main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == status, ran.stderr
    loaded = set(ran.stderr.splitlines()[-1].split())
    assert "meterport.cli" in loaded
    assert loaded & HEAVY == set()


def test_a_command_that_stores_and_reads_does_not_load_pandas(tmp_path: Path) -> None:
    """Arrow would load it where it is installed, and chDB needs it to be."""
    show = (
        "import atexit, sys; atexit.register(lambda: print(*filter(sys.modules.get, sys.modules), file=sys.stderr)); "
    )
    program = f"{show}import meterport; meterport.main()"
    create = ("meters", "create", "m", "--event-type=t", "--aggregation=COUNT", "--data-dir", str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", program, *create], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ran.stderr.splitlines()[-1].split())
    assert {"pyarrow", "chdb"} <= loaded
    assert "pandas" not in loaded


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from walk(inner, f"{path} {name}")


def test_version_and_the_programs_name() -> None:
    assert meterport("--version").stdout.startswith("meterport ")
    assert meterport("query").stderr.startswith("Usage: meterport query ")


@pytest.mark.parametrize("url", ["", "localhost:8888", "foo"])
def test_a_server_that_is_no_url_is_refused_and_no_other_one_asked(tmp_path: Path, url: str) -> None:
    answer = meterport("meters", "list", "--server", url, "--data-dir", str(tmp_path / "data"))

    told = f"meterport: --server: {url!r} is not the URL of a server: http(s)://host:port\n"
    assert (answer.returncode, answer.stderr) == (78, told)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("setting", ["server.port", "server.telemetry_port"])
def test_a_port_that_is_taken_ends_the_start(tmp_path: Path, setting: str) -> None:
    """Nobody could monitor a process without its telemetry port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"server.port": "0", setting: str(port)}
        variables = {f"METERPORT_{name.upper().replace('.', '__')}": value for name, value in ports.items()}
        answer = meterport("serve", "--data-dir", str(tmp_path), variables=variables)

    assert answer.returncode == 70
    assert f"meterport: {setting}: cannot listen on 127.0.0.1:{port}: Address already in use\n" in answer.stderr


def test_serve_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()

    assert server.terminate() == 0
    assert "stopping reason=" + signal.SIGTERM.name in server.tail()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["meters", "list", "--format", "maybe"],
            "Invalid value for '--format': 'maybe' is not one of 'table', 'json'",
        ),
        (["import", "--ambiguous", "x", "a.csv"], "Invalid value for '--ambiguous': 'x' is not one of 'error', "),
        (["dead-letters", "list", "--limit", "x"], "Invalid value for '--limit': Input should be a valid integer"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_choice_is_refused_without_the_words_of_a_library(arguments: list[str], message: str) -> None:
    """Regression: the message began with the words "Value error"."""
    ended = meterport(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"Error: {message}" in ended.stderr
