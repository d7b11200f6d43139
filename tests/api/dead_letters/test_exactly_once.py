"""A replay counts each event exactly once: after another replay, after one that was cut off, and with a full log."""

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import orjson
import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from engine.config.settings import Settings
from engine.dead_letters import replay
from engine.dead_letters.listing import DeadLetterFilter
from engine.events.cloudevents import TimeSpan
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from ingest.sqlite.log import SqliteLog
from tests.api.conftest import build, event
from tests.api.dead_letters.letters import (
    EARLIER,
    NOW,
    REPLAY,
    TODAY,
    URL,
    ahead,
    counted,
    ids,
    ingest,
    kafka_letter,
    outcome,
    problems,
    replayed,
    stamp,
)
from tests.harness.api_client import ApiClient
from tests.harness.broker import Kafka
from tests.harness.topics import Topic, read, require_real_broker

pytestmark = pytest.mark.thorough


def test_an_event_replayed_twice_counts_once(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    refused(ahead("a"), ahead("a"), ahead("a"))  # its producer sent it three times

    first = replayed(client, all=True)
    second = replayed(client, all=True)
    ingest(log, store)

    assert (outcome(first), outcome(second)) == ((3, 0), (0, 0))
    assert ids(store) == ["a"]


def cut_off_replay(dependencies: Dependencies, log: SqliteLog) -> None:
    """Do what a replay does until just before it marks the dead letters."""
    store = dependencies.store
    chosen = replay.choose(store, DeadLetterFilter(replayed=False), None, 100)
    span = TimeSpan.of(dependencies.settings.ingest)
    batch = replay.check(store, [letter.position for letter in chosen], milliseconds(NOW), span)
    log.append([letter.event for letter in batch.sendable], milliseconds(NOW)).result()


@pytest.mark.parametrize("stored", [True, False], ids=["stored meanwhile", "in the log still"])
def test_a_replay_cut_off_before_its_mark_is_repeated_safely(
    client: ApiClient,
    dependencies: Dependencies,
    log: SqliteLog,
    store: Store,
    refused: Callable[..., list[int]],
    stored: bool,
) -> None:
    refused(ahead("a"), ahead("b"))
    cut_off_replay(dependencies, log)
    if stored:
        ingest(log, store)

    answer = replayed(client, all=True)
    ingest(log, store)

    assert outcome(answer) == (2, 0)
    assert ids(store) == ["a", "b"]
    assert [letter for letter in client.get(URL).json() if "replayedAt" not in letter] == []


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "in the log still"])
def test_a_letter_whose_producer_sent_it_again_counts_once(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]], stored: bool
) -> None:
    refused(ahead("a"), ahead("b"))
    mended = orjson.dumps(event("a", "acme", stamp(EARLIER), {"tokens": 5}))
    assert client.post("/api/v1/events", json=orjson.loads(mended)).status_code == 204
    if stored:
        ingest(log, store)

    answer = replayed(client, all=True)
    sent = log.lag().records
    ingest(log, store)

    assert outcome(answer) == (2, 0)
    assert sent == (1 if stored else 3)  # a stored event is not sent again
    assert [(row[0], row[2]) for row in counted(store)] == [("a", '{"tokens":5}'), ("b", '{"tokens":1}')]


def test_a_copy_that_the_duplicate_check_has_forgotten_is_not_counted_again(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    long_ago = NOW - timedelta(days=8)
    refused(ahead("a"), ahead("b"), arrived=long_ago)
    assert client.post("/api/v1/events", json=orjson.loads(ahead("a"))).status_code == 204
    ingest(log, store)
    store.command("TRUNCATE TABLE event_keys")  # as its TTL does in the end

    answer = replayed(client, all=True)
    ingest(log, store)

    assert outcome(answer) == (2, 0)
    assert ids(store) == ["a", "b"]


def test_a_full_log_ends_a_replay_and_what_it_took_is_not_sent_again(
    client: ApiClient, log: SqliteLog, store: Store, settings: Settings, refused: Callable[..., list[int]]
) -> None:
    large = "x" * 400_000  # the log accepts two of them at a time, and a replay sends them one by one
    for id_ in ("a", "b", "c"):
        refused(ahead(id_, text=large))
    small = settings.model_copy(update={"ingest": TODAY, "log": settings.log.model_copy(update={"max_bytes": 1 << 20})})
    tight = ApiClient(client._portal, create_app(build(store, small, log)))

    cut_off = tight.post(REPLAY, json={"all": True})
    ingest(log, store)
    rest = replayed(tight, all=True)
    ingest(log, store)

    assert (cut_off.status_code, cut_off.json()["code"]) == (503, "log-full")
    assert outcome(rest) == (1, 0)
    assert ids(store) == ["a", "b", "c"]


def test_a_letter_the_log_finds_too_large_does_not_hold_up_the_others(
    portal: BlockingPortal, broker: Kafka, store: Store, api_settings: Settings
) -> None:
    topic = Topic(require_real_broker(broker).bootstrap, 1)
    broker.create_topic(topic.name, 1, {"max.message.bytes": "2000"})
    for offset, size in enumerate([10, 4000, 10, 10]):
        kafka_letter(store, ahead(f"e{offset}", text="x" * size), offset=offset)

    began = milliseconds(utc_now())

    with closing(KafkaProducer(topic.settings())) as producer:
        answer = replayed(ApiClient(portal, create_app(build(store, api_settings, producer))), all=True)

    assert outcome(answer) == (3, 1)
    assert [(problem["offset"], str(problem["reason"])[:44]) for problem in problems(answer)] == [
        (1, "an event is larger than the brokers accept: ")
    ]
    with closing(KafkaLog(topic.settings())) as log:
        sent = read(log, 3)
    assert {orjson.loads(record.value or b"")["id"] for record in sent} == {"e0", "e2", "e3"}
    assert all(record.arrived_ms >= began for record in sent)  # new, because of retention
