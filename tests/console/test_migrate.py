"""`meterport migrate`, `--check`, and processes that wait for it: `store.migrate` = wait."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from engine.errors import DataDirectoryInUse
from engine.store.data_directory import DirectoryLock
from engine.store.migrations import known_migrations, run_pending
from engine.store.opening import open_store
from tests.harness import preloaded
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.command import meterport
from tests.harness.schemas import GOLDEN, HEADER, NEWER, schema
from tests.harness.server import Server
from tests.harness.topics import wait_for

EVENT = {"specversion": "1.0", "id": "1", "source": "tests", "type": "call", "subject": "acme"}
METERS = '[{"slug": "calls", "eventType": "call", "aggregation": "COUNT"}]'


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[ClickHouse]:
    started = ClickHouse(tmp_path / "clickhouse")
    started.start()
    yield started
    started.kill()


def on_server(clickhouse: ClickHouse) -> dict[str, str]:
    """Return the variables of the command, which needs no keys of tokens."""
    return {"METERPORT_STORE__URL": clickhouse.url}


def of_process(clickhouse: ClickHouse, migrate: str) -> dict[str, str]:
    return {
        **on_server(clickhouse),
        "METERPORT_PORTAL__TOKEN_KEYS": '["0123456789abcdef0123"]',
        "METERPORT_SERVER__TELEMETRY_PORT": "0",
        "METERPORT_STORE__MIGRATE": migrate,
        "METERPORT_METERS": METERS,
    }


def count_databases(clickhouse: ClickHouse) -> str:
    return httpx.post(clickhouse.url, content="SELECT count() FROM system.databases WHERE name = 'meterport'").text


def test_a_server_is_checked_migrated_and_checked_again(clickhouse: ClickHouse, tmp_path: Path) -> None:
    names = [migration.name for migration in known_migrations(server_settings(clickhouse.url, tmp_path))]

    before = meterport("migrate", "--check", variables=on_server(clickhouse))
    assert count_databases(clickhouse) == "0\n"
    ran = meterport("migrate", variables=on_server(clickhouse))
    after = meterport("migrate", "--check", variables=on_server(clickhouse))
    again = meterport("migrate", variables=on_server(clickhouse))

    assert (before.returncode, before.stderr) == (1, "")
    assert before.stdout.splitlines() == [
        *(f"pending {name}" for name in names),
        "12 migrations pending: run `meterport migrate`",
    ]
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [*(f"running {name}" for name in names), "12 migrations completed"]
    for nothing in (after, again):
        assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "no migration is pending\n", "")
    store = open_store(server_settings(clickhouse.url, tmp_path))
    assert HEADER + schema(store) == GOLDEN.read_text(encoding="utf-8")
    store.close()


def test_an_embedded_store_is_checked_and_migrated(tmp_path: Path) -> None:
    directory = tmp_path / "data"

    before = meterport("migrate", "--check", data_dir=directory)
    assert not directory.exists()
    ran = meterport("migrate", data_dir=directory)
    after = meterport("migrate", "--check", data_dir=directory)

    assert (before.returncode, before.stdout.splitlines()[0]) == (1, "pending 0001_events")
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "12 migrations completed")
    assert (after.returncode, after.stdout) == (0, "no migration is pending\n")
    listed = meterport("meters", "list", "--format", "json", data_dir=directory, variables=WAIT)
    assert json.loads(listed.stdout) == []
    other = {"METERPORT_STORE__DATABASE": "other"}  # a second database in the same directory, which is missing
    for _ in range(2):
        missing = meterport("migrate", "--check", data_dir=directory, variables=other)
        assert (missing.returncode, missing.stdout.splitlines()[0]) == (1, "pending 0001_events")


WAIT = {"METERPORT_STORE__MIGRATE": "wait"}


def test_the_store_of_an_older_release_lacks_some(clickhouse: ClickHouse, tmp_path: Path) -> None:
    _make_older(clickhouse, tmp_path)

    checked = meterport("migrate", "--check", variables=on_server(clickhouse))
    ran = meterport("migrate", variables=on_server(clickhouse))

    assert checked.stdout == "pending 0012_subjects\n1 migration pending: run `meterport migrate`\n"
    assert checked.returncode == 1
    assert ran.stdout == "running 0012_subjects\n1 migration completed\n"


def _make_older(clickhouse: ClickHouse, directory: Path) -> None:
    settings = server_settings(clickhouse.url, directory)
    store = open_store(settings)
    run_pending(store, known_migrations(settings)[:-1])
    store.close()


@pytest.mark.parametrize("arguments", [["migrate"], ["migrate", "--check"]])
def test_a_store_that_does_not_answer_is_a_reason_to_try_again(clickhouse: ClickHouse, arguments: list[str]) -> None:
    clickhouse.kill()

    ended = meterport(*arguments, variables=on_server(clickhouse))

    assert (ended.returncode, ended.stdout) == (75, "")
    told = ended.stderr.splitlines()[-1]
    assert told.startswith("meterport: the store does not answer, run the command again later: ")
    assert "Traceback" not in ended.stderr


def test_a_right_that_is_missing_is_no_reason_to_try_again(clickhouse: ClickHouse) -> None:
    clickhouse.misbehave("error", code=497)

    ended = meterport("migrate", variables=on_server(clickhouse))

    assert ended.returncode == 78
    assert ended.stderr.startswith("meterport: store.username: this user lacks a right on ClickHouse: ")


# --- store.migrate: wait


def test_a_process_waits_until_the_command_has_run(clickhouse: ClickHouse, tmp_path: Path) -> None:
    _make_older(clickhouse, tmp_path)
    with Server(tmp_path, variables=of_process(clickhouse, "wait")) as service:
        service.launch()
        url, telemetry = service.listening("starting-api"), service.listening("starting-telemetry")
        assert url and telemetry
        assert httpx.get(f"{url}/livez").is_success
        for port in (url, telemetry):
            unready = httpx.get(f"{port}/readyz")
            [away] = unready.json()["extensions"]["away"]
            assert unready.status_code == 503
            assert (away["name"], away["stops"]) == ("schema", ["events", "queries", "ingest"])
            assert away["reason"] == (
                "the schema lacks migrations of this release: 0012_subjects; run `meterport migrate`"
            )
        assert "migrations_awaited pending=0012_subjects" in service.tail()
        pending = 'meterport_schema_migrations{state="pending"}'
        assert f"{pending} 1.0" in httpx.get(f"{telemetry}/metrics").text
        assert meterport("migrate", "--check", variables=on_server(clickhouse)).returncode == 1

        assert meterport("migrate", variables=on_server(clickhouse)).returncode == 0

        assert (service.listening("api"), service.telemetry_url()) == (url, telemetry)
        wait_for(lambda: httpx.get(f"{telemetry}/readyz").is_success, service.tail)
        assert f"{pending} 0.0" in httpx.get(f"{telemetry}/metrics").text
        _send_and_query(url, service)


def test_a_process_that_waits_makes_no_database(clickhouse: ClickHouse, tmp_path: Path) -> None:
    with Server(tmp_path, variables=of_process(clickhouse, "wait")) as service:
        service.launch()
        assert service.listening("starting-api")
        assert "0012_subjects" in service.tail()
        assert count_databases(clickhouse) == "0\n"
        assert meterport("migrate", variables=on_server(clickhouse)).returncode == 0
        assert service.listening("api")


def test_a_process_with_an_embedded_store_lets_the_command_have_it(tmp_path: Path) -> None:
    with Server(tmp_path, variables=WAIT) as service:
        service.launch()
        assert service.listening("starting-api")

        assert meterport("migrate", data_dir=tmp_path / "data").returncode == 0
        assert service.listening("api")
        assert service.terminate() == 0
    listed = meterport("meters", "list", data_dir=tmp_path / "data", variables=WAIT)
    assert listed.returncode == 0


def test_a_process_that_waits_leaves_its_directory_to_the_command(tmp_path: Path) -> None:
    """The test has the lock in the command's place, until the process has met it."""
    with Server(tmp_path, variables=WAIT) as service:
        service.launch()
        assert service.listening("starting-api")
        locks: list[DirectoryLock] = []

        def locked() -> bool:
            with suppress(DataDirectoryInUse):
                locks.append(DirectoryLock(tmp_path / "data"))
            return bool(locks)

        wait_for(locked, service.tail)
        wait_for(lambda: "directory_awaited error=" in service.tail(), service.tail)
        away = httpx.get(f"{service.listening('starting-api')}/readyz").json()["extensions"]["away"]
        assert away[0]["name"] == "schema"
        locks[0].release()

        assert meterport("migrate", data_dir=tmp_path / "data").returncode == 0
        assert service.listening("api")


def test_the_command_waits_for_the_directory_for_moments(tmp_path: Path) -> None:
    lock, told = DirectoryLock(tmp_path / "data"), tmp_path / "told"
    with told.open("wb") as file:
        command = [*preloaded.METERPORT, "migrate", "--data-dir", str(tmp_path / "data")]
        migrating = preloaded.start(command, env={}, stdout=file, stderr=file)
    wait_for(lambda: b"waiting for up to 10 s: " in told.read_bytes())
    assert migrating.poll() is None

    lock.release()

    assert migrating.wait(60) == 0, told.read_text()


def test_a_command_with_an_embedded_store_does_not_migrate_it_either(tmp_path: Path) -> None:
    ended = meterport("meters", "list", data_dir=tmp_path / "data", variables=WAIT)

    assert ended.returncode == 75
    assert ended.stderr.startswith("meterport: the schema lacks migrations of this release: 0001_events, ")
    assert ended.stderr.endswith("0012_subjects; run `meterport migrate`\n")
    assert not (tmp_path / "data" / "store").exists()


def test_a_server_that_runs_does_not_let_the_command_have_its_store(tmp_path: Path) -> None:
    with Server(tmp_path) as service:
        service.start()

        ended = meterport("migrate", data_dir=tmp_path / "data")

        assert (ended.returncode, len(ended.stderr.splitlines())) == (70, 1)
        assert "is in use by another meterport process" in ended.stderr
        assert service.terminate() == 0


# --- a newer schema


def test_the_release_before_goes_on_after_an_upgrade_and_a_rollback(clickhouse: ClickHouse, tmp_path: Path) -> None:
    _make_newer(clickhouse, tmp_path, 3)
    with Server(tmp_path, variables=of_process(clickhouse, "start")) as service:
        service.start()
        assert "schema_newer migrations=0013_region, 0014_regions, 0015_by_region: " in service.tail()
        metrics = httpx.get(f"{service.telemetry_url()}/metrics").text
        assert 'meterport_schema_migrations{state="newer"} 3.0' in metrics
        assert service.url
        _send_and_query(service.url, service)

    for arguments in (["migrate"], ["migrate", "--check"]):
        ended = meterport(*arguments, variables=on_server(clickhouse))
        assert (ended.returncode, ended.stdout) == (0, "no migration is pending\n")
        assert ended.stderr == (
            "a newer release has changed this store, and this release can use it nevertheless: "
            "0013_region, 0014_regions, 0015_by_region\n"
        )


@pytest.mark.parametrize("arguments", [["serve", "--port", "0"], ["migrate"], ["migrate", "--check"]])
def test_the_release_two_before_says_what_to_install(
    clickhouse: ClickHouse, tmp_path: Path, arguments: list[str]
) -> None:
    _make_newer(clickhouse, tmp_path, 4)
    variables = on_server(clickhouse) if "migrate" in arguments else of_process(clickhouse, "start")

    ended = meterport(*arguments, data_dir=tmp_path / "data", variables=variables)

    assert ended.returncode == 70
    assert ended.stderr.splitlines()[-1] == (
        "meterport: the schema of this store is too new for this release: 0016_no_key can be used only by releases "
        "that know 0013_region; install the release that made the schema, or a later one"
    )


def _make_newer(clickhouse: ClickHouse, directory: Path, number: int) -> None:
    settings = server_settings(clickhouse.url, directory)
    store = open_store(settings)
    run_pending(store, [*known_migrations(settings), *NEWER[:number]])
    store.close()


def _send_and_query(url: str, service: Server) -> None:
    media = {"Content-Type": "application/cloudevents+json"}
    assert httpx.post(f"{url}/api/v1/events", json=EVENT, headers=media).status_code == 204
    usage = f"{url}/api/v1/meters/calls/query"
    wait_for(lambda: [row["value"] for row in httpx.get(usage).json()["data"]] == [1], service.tail)
