"""The API runs over a real store and a real event log, and a function makes dead letters."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from api.dependencies import Dependencies
from engine.config.settings import Settings
from engine.instants import milliseconds
from engine.store.clickhouse import Store
from ingest.sqlite.log import SqliteLog
from tests.api.conftest import build
from tests.api.dead_letters.letters import EARLIER, STRICT, TODAY, ingest, offsets


@pytest.fixture
def api_settings(settings: Settings) -> Settings:
    """The current rules, and no API key."""
    return settings.model_copy(update={"ingest": TODAY})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    opened = SqliteLog(tmp_path / "log.sqlite", max_bytes=1 << 20)
    yield opened
    opened.close()


@pytest.fixture
def dependencies(store: Store, api_settings: Settings, log: SqliteLog) -> Dependencies:
    return build(store, api_settings, log)


@pytest.fixture
def refused(log: SqliteLog, store: Store) -> Callable[..., list[int]]:
    """Append records to the log that become dead letters by the rules of that day. Return their offsets."""

    def lay(*values: bytes, arrived: datetime = EARLIER) -> list[int]:
        log.append(values, milliseconds(arrived)).result()
        before = offsets(store)
        ingest(log, store, STRICT)
        return [offset for offset in offsets(store) if offset not in before]

    return lay
