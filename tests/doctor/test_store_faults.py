"""`meterport doctor` names what is wrong with a ClickHouse server, in one line that says what to do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.meters.definition import parse_definition
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.store.opening import open_store
from meterport.doctor.store_checks import RIGHTS
from tests.doctor.runs import KEYS, diagnose, diagnose_store
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.own_clickhouse import server
from tests.harness.schemas import NEWEST

__all__ = ["server"]  # a fixture of another file

DATABASE = "meterport"
ALL_RIGHTS = f"GRANT {', '.join(RIGHTS)} ON {DATABASE}.*"
LATER = ["store clock", "store settings", "store database", "store rights", "store table engines"]


@pytest.fixture
def clickhouse(server: ClickHouse, tmp_path: Path) -> Iterator[ClickHouse]:
    """Yield a server with all tables of Meterport."""
    opened(server, tmp_path).close()
    yield server
    server.restrict()
    server.behave()


def opened(server: ClickHouse, directory: Path) -> Store:
    settings = server_settings(server.url, directory, database=DATABASE)
    store = open_store(settings)
    migrate(store, settings)
    return store


def test_a_server_that_is_right_has_no_fault(clickhouse: ClickHouse, tmp_path: Path) -> None:
    found = diagnose_store(clickhouse, tmp_path)

    assert (found.status, found.faults(), found.warnings(), found.errors) == (0, {}, {}, "")
    assert found.lines["store schema"] == ("ok", "all 12 migrations have run")


def test_the_rights_that_it_asks_for_are_enough(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """They let a process make its database and tables, and create, fill and delete a meter."""
    clickhouse.restrict(ALL_RIGHTS, f"GRANT DROP DATABASE, CREATE DATABASE ON {DATABASE}.*")
    with_all = opened(clickhouse, tmp_path)
    with_all.command(f"DROP DATABASE {DATABASE} SYNC")
    with_all.close()
    assert diagnose_store(clickhouse, tmp_path).status == 0

    store = opened(clickhouse, tmp_path)
    registry = MeterRegistry(store)
    registry.create(parse_definition({"slug": "calls", "eventType": "call", "aggregation": "COUNT"}))
    registry.refresh()
    registry.delete("calls")
    store.check_tables()
    store.close()

    assert diagnose_store(clickhouse, tmp_path).faults() == {}


@pytest.mark.parametrize(
    "right",
    [
        pytest.param(right, marks=[] if right in {"SELECT", "INSERT"} else pytest.mark.only_long)
        for right in RIGHTS
        if "VIEW" not in right
    ],
)
def test_each_right_that_is_missing_is_named(clickhouse: ClickHouse, tmp_path: Path, right: str) -> None:
    clickhouse.restrict(f"GRANT {', '.join(RIGHTS.keys() - {right})} ON {DATABASE}.*")

    found = diagnose_store(clickhouse, tmp_path)

    assert found.status == 1
    assert found.faults()["store rights"] == (
        f"default lacks {right} on {DATABASE}.*, needed for {RIGHTS[right]}: run GRANT {right} ON {DATABASE}.* TO "
        "default"
    )
    assert [*found.faults()] == (["store rights", "store schema"] if right == "SELECT" else ["store rights"])


def test_a_database_that_cannot_be_created_is_named(clickhouse: ClickHouse, tmp_path: Path) -> None:
    clickhouse.restrict(ALL_RIGHTS)

    found = diagnose_store(clickhouse, tmp_path, database="another")

    assert found.status == 1
    assert found.faults()["store database"] == (
        "store.database: another does not exist, or default has no right on it, and may not create it: create it and "
        "grant the rights on it, or run GRANT CREATE DATABASE ON another.* TO default"
    )
    assert found.skipped()["store schema"] == "not checked, because `store database` failed or was skipped"


def test_a_user_who_may_only_read_is_named(clickhouse: ClickHouse, tmp_path: Path) -> None:
    clickhouse.restrict(ALL_RIGHTS, profile="<readonly>2</readonly>")

    found = diagnose_store(clickhouse, tmp_path)

    assert found.faults()["store settings"] == (
        "store.username: default may only read, because its profile has readonly = 2: set it to 0"
    )
    assert [*found.skipped()] == []


@pytest.mark.parametrize(
    "setting",
    ["async_insert", pytest.param("compile_expressions", marks=pytest.mark.only_long)],
    ids=["of inserts", "of queries"],
)
def test_a_setting_that_may_not_be_changed_is_named(clickhouse: ClickHouse, tmp_path: Path, setting: str) -> None:
    constraint = f"<constraints><{setting}><readonly/></{setting}></constraints>"
    clickhouse.restrict(ALL_RIGHTS, profile=f"<{setting}>1</{setting}>{constraint}")

    found = diagnose_store(clickhouse, tmp_path)

    assert (found.status, [*found.faults()]) == (1, ["store settings"])
    assert "remove them: " in found.faults()["store settings"]
    assert f"Setting {setting} should not be changed" in found.faults()["store settings"]


@pytest.mark.only_long
def test_nothing_is_logged(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """A process that starts would log `query_memory_not_limited`."""
    limit = "<max_memory_usage>1000000000</max_memory_usage>"
    constraint = "<constraints><max_memory_usage><readonly/></max_memory_usage></constraints>"
    clickhouse.restrict(ALL_RIGHTS, profile=limit + constraint)
    variables = {"METERPORT_STORE__URL": clickhouse.url, "METERPORT_QUERY__MEMORY_BYTES": "2000000000"}

    found = diagnose({"METERPORT_DATA_DIR": str(tmp_path), **variables})

    assert (found.status, found.faults(), found.errors) == (0, {}, "")


@pytest.mark.parametrize("code", [*(pytest.param(code, marks=pytest.mark.only_long) for code in (192, 193, 194)), 516])
def test_a_user_who_is_not_accepted_is_named(clickhouse: ClickHouse, tmp_path: Path, code: int) -> None:
    clickhouse.misbehave("error", code=code)

    found = diagnose_store(clickhouse, tmp_path)

    assert (found.status, [*found.faults()]) == (1, ["store user"])
    assert found.faults()["store user"].startswith(
        "store.username, store.password: ClickHouse does not accept this user with this password: "
    )
    assert found.skipped() == {
        **dict.fromkeys(LATER, "not checked, because `store user` failed or was skipped"),
        "store schema": "not checked, because `store database` failed or was skipped",
        "store tables": "not checked, because `store schema` failed or was skipped",
    }


def test_a_password_is_not_printed(clickhouse: ClickHouse, tmp_path: Path) -> None:
    clickhouse.misbehave("error", code=516)

    found = diagnose_store(None, tmp_path, url=clickhouse.url.replace("://", "://user:sesame-open@"))

    assert "sesame-open" not in str(found)
    assert [*found.faults()] == ["store user"]


# --- the schema -------------------------------------------------------------------------------------------------------


def change(clickhouse: ClickHouse, directory: Path, *statements: str) -> None:
    store = opened(clickhouse, directory)
    for statement in statements:
        store.command(statement)
    store.close()


@pytest.mark.parametrize(
    ("needs", "finding"),
    [
        (
            NEWEST,
            (
                "warning",
                "a newer release has changed this store, and this release can use it nevertheless: 0099_later; upgrade "
                "this release of Meterport",
            ),
        ),
        (
            "0099_later",
            (
                "fault",
                "the schema of this store is too new for this release: 0099_later can be used only by releases that "
                "know 0099_later; install the release that made the schema, or a later one",
            ),
        ),
    ],
    ids=["usable", "not usable"],
)
def test_a_schema_of_a_newer_release_is_named(
    clickhouse: ClickHouse, tmp_path: Path, needs: str, finding: tuple[str, str]
) -> None:
    store = opened(clickhouse, tmp_path)
    store.command(f"INSERT INTO schema_migrations VALUES ('0099_later', 1, 'h', '{needs}', now(), now())")

    found = diagnose_store(clickhouse, tmp_path)
    store.command("ALTER TABLE schema_migrations DELETE WHERE name = '0099_later' SETTINGS mutations_sync = 1")
    store.close()

    assert found.lines["store schema"] == finding
    assert found.status == (1 if finding[0] == "fault" else 0)


def test_a_migration_that_has_not_run_is_named(clickhouse: ClickHouse, tmp_path: Path) -> None:
    forget = "ALTER TABLE schema_migrations DELETE WHERE name = '0012_subjects' SETTINGS mutations_sync = 1"
    change(clickhouse, tmp_path, forget, "DROP TABLE subjects SYNC")

    found = diagnose_store(clickhouse, tmp_path)
    waiting = diagnose_store(clickhouse, tmp_path, migrate="wait")

    assert (found.status, found.warnings()) == (
        0,
        {
            "store schema": "the next start runs these migrations: 0012_subjects; until then what they create is "
            "missing",
        },
    )
    assert (waiting.status, waiting.warnings()) == (
        0,
        {
            "store schema": "store.migrate is wait, and the schema lacks migrations of this release: 0012_subjects; "
            "run `meterport migrate`"
        },
    )


def test_a_migration_that_was_edited_is_named(clickhouse: ClickHouse, tmp_path: Path) -> None:
    change(
        clickhouse,
        tmp_path,
        "INSERT INTO schema_migrations SELECT name, version + 1, 'another hash', needs, started_at, completed_at "
        "FROM schema_migrations FINAL WHERE name = '0002_event_keys'",
    )

    found = diagnose_store(clickhouse, tmp_path, database=DATABASE)
    with_any = server_settings(clickhouse.url, tmp_path, database=DATABASE)
    store = open_store(with_any)
    store.command("ALTER TABLE schema_migrations DELETE WHERE hash = 'another hash' SETTINGS mutations_sync = 1")
    store.close()

    assert found.faults()["store schema"].startswith("migration 0002_event_keys differs from the one that made this ")


def test_a_table_that_is_missing_or_different_is_named(clickhouse: ClickHouse, tmp_path: Path) -> None:
    change(clickhouse, tmp_path, "DROP TABLE subjects SYNC")
    missing = diagnose_store(clickhouse, tmp_path)
    change(
        clickhouse,
        tmp_path,
        "CREATE TABLE subjects (id String) ENGINE = MergeTree ORDER BY id",
        "ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 5",
    )
    different = diagnose_store(clickhouse, tmp_path)
    change(clickhouse, tmp_path, f"DROP DATABASE {DATABASE} SYNC")

    assert missing.faults()["store tables"].startswith(
        "missing in meterport, or default has no right on them: subjects;"
    )
    assert different.faults()["store tables"] == (
        "table events does not keep a deduplication window of 10000: run ALTER TABLE events MODIFY SETTING "
        "non_replicated_deduplication_window = 10000"
    )


@pytest.mark.parametrize(
    ("ahead", "status", "message"),
    [
        pytest.param(
            120,
            "warning",
            "the server's clock is 120 seconds behind this machine's: synchronise both by NTP ",
            marks=pytest.mark.only_long,
        ),
        pytest.param(
            -120,
            "warning",
            "the server's clock is 120 seconds ahead of this machine's: synchronise both by NTP ",
            marks=pytest.mark.only_long,
        ),
        (7300, "fault", "the server's clock is 7300 seconds behind this machine's: synchronise both by NTP "),
    ],
)
def test_clocks_that_differ_are_named(
    clickhouse: ClickHouse, tmp_path: Path, ahead: int, status: str, message: str
) -> None:
    command = [sys.executable, "-m", "tests.chaos.other_clock", str(ahead), "doctor"]
    variables = {**KEYS, "METERPORT_DATA_DIR": str(tmp_path), "METERPORT_STORE__URL": clickhouse.url}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}

    ended = subprocess.run(command, env=inherited | variables, capture_output=True, text=True, check=False)

    [line] = [line for line in ended.stdout.splitlines() if "store clock: " in line]
    assert line.split()[0] == status
    assert message in line
    assert ended.returncode == (1 if status == "fault" else 0)
