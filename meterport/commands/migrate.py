"""The command `migrate`, which brings the schema of the configured store to this release."""

import contextlib
import time
from typing import Annotated

import typer

from engine import faults
from engine.config.settings import Settings
from engine.errors import DataDirectoryInUse, StoreUnavailable
from engine.logging_setup import configure_logging
from engine.store.data_directory import DirectoryLock
from engine.store.migrations import (
    MigrationsPending,
    Schema,
    known_migrations,
    migrate,
    missing_database,
    read_schema,
)
from engine.store.opening import embedded_path, explained_refusals, open_store
from meterport.configuration import command_settings
from meterport.options import Config, DataDir
from meterport.terminal import say

_LOCK_SECONDS = 10  # A process that waits for migrations uses the data directory for moments only.
_PAUSE_SECONDS = 0.02

Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Only list the migrations that are pending, and change nothing; the exit status is 1 if there are any.",
    ),
]


def migrate_store(config: Config = None, data_dir: DataDir = None, check: Check = False) -> None:
    """Bring the schema of the store to this release, and end.

    The store is the ClickHouse server in store.url, or the embedded one in the data directory, which no server may be
    using. Migrations that have run are left out. The command may be interrupted and run again, and several may run at
    once.

    With store.migrate: start (default) each process does the same when it starts. With store.migrate: wait only this
    command does, and processes wait for it.

    Exit status: 0 if the schema is that of this release now; with --check, 1 if migrations are pending; 75 if the store
    does not answer: try again; 70 or 78 if that would not help.

    \b
    Examples:
      meterport migrate --check --config meterport.yaml
      METERPORT_STORE__URL=http://clickhouse:8123 meterport migrate
    """
    settings = command_settings(config, listens=False, has_tokens=False, data_dir=data_dir)
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    faults.arm(settings.fault)
    with explained_refusals(), contextlib.ExitStack() as opened:
        try:
            (_check if check else _migrate)(settings, opened)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"the store does not answer, run the command again later: {error}") from error


def _migrate(settings: Settings, opened: contextlib.ExitStack) -> None:
    _lock(settings, opened)
    store = open_store(settings)
    opened.callback(store.close)
    _say_newer(read_schema(store, known_migrations(settings)))
    ran = migrate(store, settings, lambda name: typer.echo(f"running {name}"))
    store.check_tables()
    typer.echo(f"{_count(len(ran))} completed" if ran else "no migration is pending")


def _check(settings: Settings, opened: contextlib.ExitStack) -> None:
    """Print what is pending. Raises: typer.Exit: there is something."""
    try:
        if not settings.store.url and not embedded_path(settings).exists():
            raise missing_database(settings)  # The lock would make the data directory.
        _lock(settings, opened)
        store = open_store(settings, creates=False)
        opened.callback(store.close)
        schema = read_schema(store, known_migrations(settings))
        names = schema.pending_names
        _say_newer(schema)
    except MigrationsPending as missing:
        names = list(missing.names)
    for name in names:
        typer.echo(f"pending {name}")
    typer.echo(f"{_count(len(names))} pending: run `meterport migrate`" if names else "no migration is pending")
    if names:
        raise typer.Exit(1)


def _lock(settings: Settings, opened: contextlib.ExitStack) -> None:
    """Lock the directory of an embedded store. Raises: DataDirectoryInUse: another process does not leave it."""
    if settings.store.url:
        return
    told, deadline = False, time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            opened.callback(DirectoryLock(settings.data_dir, settings.trust_data_dir).release)
        except DataDirectoryInUse as error:
            if error.url or time.monotonic() >= deadline:  # A server that has started does not leave it.
                raise
            if not told:
                say(f"waiting for up to {_LOCK_SECONDS} s: {error}")
            told = True
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _say_newer(schema: Schema) -> None:
    if schema.newer:
        say(schema.about_newer)


def _count(number: int) -> str:
    return "1 migration" if number == 1 else f"{number} migrations"
