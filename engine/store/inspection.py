"""Questions to a ClickHouse server that change nothing in it, not even a session: what `meterport doctor` asks.

Owns: the statements in sql/doctor. They need no right of their own: every user may read the system tables that they
name, which then list what the user may see.
Limits: `is_granted` needs a release that knows CHECK GRANT.
Source: ClickHouse "CHECK GRANT Statement"; tried with chDB 26.9, where it also answers 0 if `readonly` or `allow_ddl`
forbids the statement.
"""

from collections.abc import Iterable
from typing import NamedTuple

from engine.errors import StoreError
from engine.store import sql
from engine.store.clickhouse import Store

_SYNTAX_ERROR = 62
# The engines of the tables in sql/migrations and sql/meters.
ENGINES = ("AggregatingMergeTree", "MaterializedView", "MergeTree", "ReplacingMergeTree")


class ServerUser(NamedTuple):
    """The user that a store is used as, and the server's release. `readonly`: ClickHouse's setting of this name."""

    release: str
    name: str
    readonly: int


def server_user(store: Store) -> ServerUser:
    """Return the user that a store is used as. Raises: StoreUnavailable, StoreError, as all functions here."""
    [(release, name, readonly)] = store.rows(sql.statement("doctor/user"))
    return ServerUser(release, name, readonly)


def clock_ms(store: Store) -> int:
    """Return the clock of the server, in Unix milliseconds."""
    [(now_ms,)] = store.rows(sql.statement("doctor/clock"))
    return int(now_ms)


def database_exists(store: Store, name: str) -> bool:
    """Return whether a database exists that the user may see."""
    return bool(store.rows(sql.statement("doctor/database"), name=name))


def is_granted(store: Store, right: str) -> bool | None:
    """Return whether the user has a right; None if this release of ClickHouse cannot say so.

    Args: right: as in GRANT, with identifiers quoted by `sql.identifier`: "INSERT ON `meterport`.*".
    """
    try:
        return store.command(sql.statement("doctor/granted", right=right)).strip() == "1"
    except StoreError as error:
        if error.clickhouse_code == _SYNTAX_ERROR:
            return None
        raise


def missing_engines(store: Store) -> list[str]:
    """Return the table engines that Meterport needs and the server does not have."""
    known = {name for (name,) in store.rows(sql.statement("doctor/engines"), names=list(ENGINES))}
    return [name for name in ENGINES if name not in known]


def missing_tables(store: Store, names: Iterable[str]) -> list[str]:
    """Return which of these tables and views do not exist in the store's database, or are not visible to the user."""
    known = {name for (name,) in store.rows(sql.statement("doctor/tables"))}
    return [name for name in names if name not in known]
