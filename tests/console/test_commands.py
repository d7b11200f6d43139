"""The commands for usage, imports, tokens and meters, run as separate processes beside one running server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from tests.console.runs import KEY, Run, cells
from tests.harness.command import meterport
from tests.harness.server import Server


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
    assert cells(served("token", "list").stdout)[1][-1] == "invalidated"


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
    assert cells(served("token", "list").stdout)[1][-1] == "invalidated"


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


def test_a_path_too_many_in_the_servers_url_is_seen(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/api/v1"

    answer = meterport("meters", "list", "--server", url, "--data-dir", str(tmp_path))

    assert (answer.returncode, answer.stderr) == (1, f"meterport: Not Found: {url}/api/v1/meters\n")
