"""The API over a real store, with an event log in memory that a test moves into the store when it wants to."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import clickhouse_connect
import orjson
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr
from starlette.applications import Starlette

from api.app import create_app
from api.dependencies import Dependencies
from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.errors import MeterportError
from engine.events.appender import EventAppender
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.health import Readiness
from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.subjects import Subjects
from engine.tokens.portal_tokens import PortalTokens
from tests.harness.api_client import ApiClient

KEY = "a-management-key"
SIGNING_KEY = "a-signing-key-of-tests"
BATCH = "application/cloudevents-batch+json"
SINGLE = "application/cloudevents+json"
CSV = {"Accept": "text/csv"}
QUERY = "/api/v1/meters/tokens_total/query"
PORTAL_QUERY = "/api/v1/portal/meters/tokens_total/query"
TOKENS_TOTAL: dict[str, object] = {
    "slug": "tokens_total",
    "eventType": "prompt",
    "aggregation": "SUM",
    "valueProperty": "$.tokens",
    "groupBy": {"model": "$.model", "type": "$.type"},
}
# What the fixtures `meter`, `send` and `token` return.
Create = Callable[..., dict[str, Any]]
Send = Callable[..., None]
Token = Callable[..., dict[str, str]]


class MemoryLog:
    """Keeps appended events in memory until `drain` stores them. If `failure` is set, appends raise it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.values: list[bytes] = []
        self.failure: MeterportError | None = None
        self._store, self._span = store, TimeSpan.of(settings.ingest)
        self._offsets = itertools.count()
        self._arrived: list[int] = []

    def append(self, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        if self.failure:
            raise self.failure
        self.values += values
        self._arrived += [arrived_ms] * len(values)
        done: Future[None] = Future()
        threading.Timer(0.001, done.set_result, [None]).start()
        return done

    def drain(self) -> None:
        """Insert everything that was appended since the last call."""
        events = [
            decode_event(value, arrived_ms, 0, next(self._offsets), self._span)
            for value, arrived_ms in zip(self.values, self._arrived, strict=True)
        ]
        self._store.insert_block("events", event_block(events, milliseconds(utc_now())), f"drain-{events[0].offset}")
        self.values, self._arrived = [], []


@pytest.fixture
def api_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_key": SecretStr(KEY)})


@pytest.fixture
def log(store: Store, api_settings: Settings) -> MemoryLog:
    return MemoryLog(store, api_settings)


@pytest.fixture
def dependencies(store: Store, api_settings: Settings, log: MemoryLog) -> Dependencies:
    return build(store, api_settings, log)


def build(store: Store, settings: Settings, log: EventAppender) -> Dependencies:
    return Dependencies(
        settings=settings,
        store=store,
        registry=MeterRegistry(store),
        tokens=PortalTokens(store, [SIGNING_KEY], settings.portal),
        subjects=Subjects(store),
        appender=log,
        readiness=Readiness,
    )


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """Yield an event loop in a thread."""
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture
def app(dependencies: Dependencies) -> Starlette:
    return create_app(dependencies)


@pytest.fixture
def anyone(portal: BlockingPortal, app: Starlette) -> ApiClient:
    """A client without credentials."""
    return ApiClient(portal, app)


@pytest.fixture
def client(portal: BlockingPortal, app: Starlette) -> ApiClient:
    """A client that holds the API key."""
    return ApiClient(portal, app, {"Authorization": f"Bearer {KEY}"})


@pytest.fixture(scope="session")
def still_dependencies(data_dir: Path) -> Iterator[Dependencies]:
    """Yield dependencies of a store with the meter `tokens_total` and no events, for tests that change nothing."""
    settings = load_settings(overrides={"data_dir": data_dir, "api_key": KEY})

    def connect(database: str = "still") -> Client:
        client = clickhouse_connect.get_client(interface="chdb", path=str(data_dir / "store"))
        client.database = database
        return client

    creator = connect("default")
    creator.command("CREATE DATABASE still")
    creator.close()
    # This store is opened beside the store of each test, which has the lock of the directory.
    store = Store(connect, settings.store.handles, shared=False)
    migrate(store, settings)
    dependencies = build(store, settings, MemoryLog(store, settings))
    dependencies.registry.create(parse_definition(TOKENS_TOTAL))
    yield dependencies
    store.command("DROP DATABASE still SYNC")
    store.close()


@pytest.fixture
def still(portal: BlockingPortal, still_dependencies: Dependencies) -> ApiClient:
    """A client with the API key, for requests that change nothing. Most of these are refused."""
    return ApiClient(portal, create_app(still_dependencies), {"Authorization": f"Bearer {KEY}"})


@pytest.fixture
def still_app(still_dependencies: Dependencies) -> Starlette:
    return create_app(still_dependencies)


@pytest.fixture
def stranger(portal: BlockingPortal, still_app: Starlette) -> ApiClient:
    """The same client without credentials."""
    return ApiClient(portal, still_app)


class Unrecorded(PortalTokens):
    """Signs tokens without recording them, because that would change the store."""

    def _write(self, tokens: object) -> None:
        pass


@pytest.fixture
def still_token(still_dependencies: Dependencies) -> Callable[..., dict[str, str]]:
    """Return a function that creates a portal token for the still store and returns its request headers."""
    tokens = Unrecorded(still_dependencies.store, [SIGNING_KEY], still_dependencies.settings.portal)

    def create(subject: str, slugs: list[str] | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {tokens.create(subject, slugs, None)[1]}"}

    return create


@pytest.fixture
def still_log(still_dependencies: Dependencies) -> MemoryLog:
    assert isinstance(still_dependencies.appender, MemoryLog)
    return still_dependencies.appender


@pytest.fixture
def meter(client: ApiClient) -> Callable[..., dict[str, Any]]:
    """Return a function that creates a meter. Its arguments replace members of the definition of `tokens_total`."""

    def create(**changes: object) -> dict[str, Any]:
        wanted = {name: value for name, value in {**TOKENS_TOTAL, **changes}.items() if value is not None}
        answer = client.post("/api/v1/meters", json=wanted)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return create


@pytest.fixture
def send(client: ApiClient, log: MemoryLog) -> Callable[..., None]:
    """Return a function that sends events and stores them. Each event is (subject, time, data)."""
    numbers = itertools.count()

    def ingest(*events: tuple[str, str, dict[str, object]], type_: str = "prompt") -> None:
        batch = [event(f"e{next(numbers)}", subject, time, data, type_) for subject, time, data in events]
        answer = client.post("/api/v1/events", content=orjson.dumps(batch), headers={"Content-Type": BATCH})
        assert answer.status_code == 204, answer.text
        log.drain()

    return ingest


@pytest.fixture
def token(client: ApiClient) -> Callable[..., dict[str, str]]:
    """Return a function that creates a portal token and returns its request headers."""

    def create(subject: str, **members: object) -> dict[str, str]:
        answer = client.post("/api/v1/portal/tokens", json={"subject": subject, **members})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    return create


def event(id_: str, subject: str, time: str, data: object, type_: str = "prompt") -> dict[str, object]:
    return {
        "specversion": "1.0", "id": id_, "source": "tests", "type": type_,
        "subject": subject, "time": time, "data": data,
    }  # fmt: skip
