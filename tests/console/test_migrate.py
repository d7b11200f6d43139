"""`meterport migrate`, `--check`, and processes that wait for it: `store.migrate` = wait."""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from engine.errors import DataDirectoryInUse
from engine.store.data_directory import DirectoryLock
from engine.store.migrations import known_migrations, run_pending
from engine.store.opening import open_store
from tests.documents.shown import block
from tests.harness import preloaded
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.command import meterport
from tests.harness.own_clickhouse import server
from tests.harness.ports import free_ports
from tests.harness.schemas import GOLDEN, HEADER, NEWER, schema
from tests.harness.server import Server
from tests.harness.topics import wait_for

__all__ = ["server"]  # a fixture of another file

EVENT = {"specversion": "1.0", "id": "1", "source": "tests", "type": "call", "subject": "acme"}
METERS = '[{"slug": "calls", "eventType": "call", "aggregation": "COUNT"}]'
WAIT = {"METERPORT_STORE__MIGRATE": "wait"}
_numbers = itertools.count()


class Remote:
    """A database on a ClickHouse server, which does not exist at first."""

    def __init__(self, server: ClickHouse, directory: Path) -> None:
        self.server = server
        self.name = f"migrated_{next(_numbers)}"
        self.settings = server_settings(server.url, directory, database=self.name)
        self.known = known_migrations(self.settings)
        # The command needs no keys of tokens.
        self.of_command = {"METERPORT_STORE__URL": server.url, "METERPORT_STORE__DATABASE": self.name}
        self.of_process = {
            **self.of_command,
            "METERPORT_PORTAL__TOKEN_KEYS": '["0123456789abcdef0123"]',
            "METERPORT_SERVER__TELEMETRY_PORT": "0",
            "METERPORT_METERS": METERS,
        }

    def exists(self) -> bool:
        statement = f"SELECT count() FROM system.databases WHERE name = '{self.name}'"
        return httpx.post(self.server.url, content=statement).text == "1\n"

    def make(self, lacks: int = 0, newer: int = 0) -> None:
        """Make the store of an older release, or of a newer one."""
        store = open_store(self.settings)
        run_pending(store, [*self.known[: len(self.known) - lacks], *NEWER[:newer]])
        store.close()


@pytest.fixture
def remote(server: ClickHouse, tmp_path: Path) -> Iterator[Remote]:
    yield Remote(server, tmp_path)
    server.behave()


def test_a_server_is_checked_and_migrated_also_after_a_kill(remote: Remote) -> None:
    """The kill comes between the migrations. tests/test_migrators.py has one after each statement."""
    names = [migration.name for migration in remote.known]
    pending = [*(f"pending {name}" for name in names), "12 migrations pending: run `meterport migrate`"]

    before = meterport("migrate", "--check", variables=remote.of_command)
    assert not remote.exists()
    killed = meterport("migrate", variables=remote.of_command | {"METERPORT_FAULT": "schema.after-statement:7"})
    half_done = meterport("migrate", "--check", variables=remote.of_command)
    ran = meterport("migrate", variables=remote.of_command)
    after = meterport("migrate", "--check", variables=remote.of_command)

    for checked in (before, half_done):
        assert (checked.returncode, checked.stdout.splitlines(), checked.stderr) == (1, pending, "")
    assert killed.returncode == -9
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [*(f"running {name}" for name in names), "12 migrations completed"]
    assert (after.returncode, after.stdout, after.stderr) == (0, "no migration is pending\n", "")
    store = open_store(remote.settings)
    assert HEADER + schema(store) == GOLDEN.read_text(encoding="utf-8")
    store.close()


def test_the_commands_of_the_operations_page_print_what_it_shows(remote: Remote) -> None:
    remote.make(lacks=1)

    for (_, *arguments), shown in block("$ meterport migrate").sessions():
        ended = meterport(*arguments, variables=remote.of_command)

        assert (ended.stdout, ended.stderr) == (shown.rstrip() + "\n", "")


def test_an_embedded_store_is_checked_and_migrated(tmp_path: Path) -> None:
    directory = tmp_path / "data"

    before = meterport("migrate", "--check", data_dir=directory)
    assert not directory.exists()
    refused = meterport("meters", "list", data_dir=directory, variables=WAIT)
    assert not (directory / "store").exists()
    ran = meterport("migrate", data_dir=directory)
    after = meterport("migrate", "--check", data_dir=directory)

    assert (before.returncode, before.stdout.splitlines()[0]) == (1, "pending 0001_events")
    assert refused.returncode == 75
    assert refused.stderr.startswith("meterport: the schema lacks migrations of this release: 0001_events, ")
    assert refused.stderr.endswith("0012_subjects; run `meterport migrate`\n")
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "12 migrations completed")
    assert (after.returncode, after.stdout) == (0, "no migration is pending\n")


@pytest.mark.parametrize("arguments", [["migrate"], ["migrate", "--check"]])
def test_a_store_that_does_not_answer_is_a_reason_to_try_again(arguments: list[str]) -> None:
    [port] = free_ports(1)

    ended = meterport(*arguments, variables={"METERPORT_STORE__URL": f"http://127.0.0.1:{port}"})

    assert (ended.returncode, ended.stdout) == (75, "")
    [told] = ended.stderr.splitlines()  # before, the client's libraries logged two more for each attempt
    assert told.startswith("meterport: the store does not answer, run the command again later: ")


def test_a_right_that_is_missing_is_no_reason_to_try_again(remote: Remote, server: ClickHouse) -> None:
    server.misbehave("error", code=497)

    ended = meterport("migrate", variables=remote.of_command)

    assert ended.returncode == 78
    assert ended.stderr.startswith("meterport: store.username: this user lacks a right on ClickHouse: ")


# --- processes that start


def test_a_process_waits_until_the_command_has_run(remote: Remote, tmp_path: Path) -> None:
    """It does not even make the database. Then an older release makes the store, which lacks a migration."""
    names = ", ".join(migration.name for migration in remote.known)
    with Server(tmp_path, variables=remote.of_process | WAIT) as service:
        service.launch()
        url, telemetry = service.listening("starting-api"), service.listening("starting-telemetry")
        assert url and telemetry
        assert httpx.get(f"{url}/livez").is_success
        for port in (url, telemetry):
            assert _away(port) == {
                "name": "schema",
                "reason": f"the schema lacks migrations of this release: {names}; run `meterport migrate`",
                "stops": ["events", "queries", "ingest"],
            }
        assert f"migrations_awaited pending={names}" in service.tail()
        pending = 'meterport_schema_migrations{state="pending"}'
        assert f"{pending} 12.0" in httpx.get(f"{telemetry}/metrics").text
        assert not remote.exists()
        remote.make(lacks=1)
        lacks = "the schema lacks migrations of this release: 0012_subjects; run `meterport migrate`"
        wait_for(lambda: _away(url)["reason"] == lacks, service.tail)

        checked = meterport("migrate", "--check", variables=remote.of_command)
        ran = meterport("migrate", variables=remote.of_command)
        assert checked.stdout == "pending 0012_subjects\n1 migration pending: run `meterport migrate`\n"
        assert ran.stdout == "running 0012_subjects\n1 migration completed\n"

        assert (service.listening("api"), service.telemetry_url()) == (url, telemetry)
        wait_for(lambda: httpx.get(f"{telemetry}/readyz").is_success, service.tail)
        assert f"{pending} 0.0" in httpx.get(f"{telemetry}/metrics").text
        _send_and_query(url, service)


def test_a_process_says_which_migration_it_runs(remote: Remote, server: ClickHouse, tmp_path: Path) -> None:
    """One that takes long. Its first insert is the record that the migration has begun."""
    remote.make(lacks=1)
    server.misbehave("stall", inserts_only=True)
    with Server(tmp_path, variables=remote.of_process) as service:
        service.launch()
        url = service.listening("starting-api")
        assert url
        wait_for(lambda: server.struck("stall") > 0, service.tail)
        assert _away(url) == {
            "name": "schema",
            "reason": "this process runs the migration 0012_subjects",
            "stops": ["events", "queries", "ingest"],
        }

        server.behave()

        assert service.listening("api") == url
        assert "migration_completed name=0012_subjects" in service.tail()


def test_a_process_that_waits_leaves_its_embedded_store_to_the_command(tmp_path: Path) -> None:
    """The test has the lock on the data directory at first, until the process and the command have both met it."""
    directory = tmp_path / "data"
    told = tmp_path / "told"
    with Server(tmp_path, variables=WAIT) as service, told.open("wb") as file:
        service.launch()
        url = service.listening("starting-api")
        assert url
        locks: list[DirectoryLock] = []

        def locked() -> bool:
            with suppress(DataDirectoryInUse):
                locks.append(DirectoryLock(directory))
            return bool(locks)

        wait_for(locked, service.tail)
        command = [*preloaded.METERPORT, "migrate", "--data-dir", str(directory)]
        migrating = preloaded.start(command, env={}, stdout=file, stderr=file)
        wait_for(lambda: b"waiting for up to 10 s: " in told.read_bytes())
        wait_for(lambda: "directory_awaited error=" in service.tail(), service.tail)
        assert _away(url)["name"] == "schema"
        assert migrating.poll() is None

        locks[0].release()

        assert migrating.wait(60) == 0, told.read_text()
        assert service.listening("api") == url
        refused = meterport("migrate", data_dir=directory)  # A server that runs does not leave it.
        assert (refused.returncode, len(refused.stderr.splitlines())) == (70, 1)
        assert "is in use by another meterport process" in refused.stderr
        assert service.terminate() == 0


# --- a newer schema


def test_the_release_before_goes_on_after_an_upgrade_and_a_rollback(remote: Remote, tmp_path: Path) -> None:
    remote.make(newer=3)
    with Server(tmp_path, variables=remote.of_process) as service:
        service.start()
        assert "schema_newer migrations=0013_region, 0014_regions, 0015_by_region: " in service.tail()
        metrics = httpx.get(f"{service.telemetry_url()}/metrics").text
        assert 'meterport_schema_migrations{state="newer"} 3.0' in metrics
        assert service.url
        _send_and_query(service.url, service)

    for arguments in (["migrate"], ["migrate", "--check"]):
        ended = meterport(*arguments, variables=remote.of_command)
        assert (ended.returncode, ended.stdout) == (0, "no migration is pending\n")
        assert ended.stderr == (
            "a newer release has changed this store, and this release can use it nevertheless: "
            "0013_region, 0014_regions, 0015_by_region\n"
        )


def test_the_release_two_before_says_what_to_install(remote: Remote, tmp_path: Path) -> None:
    remote.make(newer=4)

    for arguments in (["serve", "--port", "0"], ["migrate"], ["migrate", "--check"]):
        variables = remote.of_command if "migrate" in arguments else remote.of_process
        ended = meterport(*arguments, data_dir=tmp_path / "data", variables=variables)

        assert ended.returncode == 70
        assert ended.stderr.splitlines()[-1] == (
            "meterport: the schema of this store is too new for this release: 0016_no_key can be used only by releases "
            "that know 0013_region; install the release that made the schema, or a later one"
        )


def _away(port: str) -> dict[str, object]:
    """Return what is away of a process that is not ready, without the times."""
    unready = httpx.get(f"{port}/readyz")
    assert unready.status_code == 503
    [away] = unready.json()["extensions"]["away"]
    return {name: away[name] for name in ("name", "reason", "stops")}


def _send_and_query(url: str, service: Server) -> None:
    media = {"Content-Type": "application/cloudevents+json"}
    assert httpx.post(f"{url}/api/v1/events", json=EVENT, headers=media).status_code == 204
    usage = f"{url}/api/v1/meters/calls/query"
    wait_for(lambda: [row["value"] for row in httpx.get(usage).json()["data"]] == [1], service.tail)
