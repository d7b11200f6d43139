"""Dead letters over HTTP, on a real store and a real event log: listed, and replayed when they have become valid.

Contract 3.3, D.25.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from engine.config.settings import IngestSettings, Settings
from engine.dead_letters import replay
from engine.dead_letters.listing import DeadLetterFilter
from engine.events.cloudevents import TimeSpan
from engine.instants import milliseconds, parse_instant, utc_now
from engine.log_position import LogPosition
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.dead_letters import DeadLetter, dead_letter_block
from ingest.event_log import Headers, Record
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from ingest.sqlite_log import SqliteLog
from tests.api.conftest import build, event
from tests.harness.api_client import ApiClient
from tests.harness.broker import Kafka
from tests.harness.topics import Topic, read, require_real_broker

pytestmark = pytest.mark.thorough

URL = "/api/v1/dead-letters"
REPLAY = f"{URL}/replay"
NOW = utc_now()
EARLIER = NOW - timedelta(hours=3)  # when the dead letters of these tests arrived
STRICT = IngestSettings(future_seconds=0)  # the rules that refused them
TODAY = IngestSettings(future_seconds=30 * 86_400)


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ahead(id_: str, days: float = 2, **data: object) -> bytes:
    """Return an event whose time is `days` ahead of the clock."""
    return orjson.dumps(event(id_, "acme", stamp(NOW + timedelta(days=days)), {"tokens": 1, **data}))


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


def ingest(log: SqliteLog, store: Store, rules: IngestSettings = TODAY) -> None:
    """Store everything that is in the log."""
    consumer = Consumer(log, store, rules, threading.Event())
    consumer.start()
    while consumer.step(wait_seconds=0):
        pass


@pytest.fixture
def refused(log: SqliteLog, store: Store) -> Callable[..., list[int]]:
    """Append records to the log that become dead letters by the rules of that day. Return their offsets."""

    def lay(*values: bytes, arrived: datetime = EARLIER) -> list[int]:
        log.append(values, milliseconds(arrived)).result()
        before = offsets(store)
        ingest(log, store, STRICT)
        return [offset for offset in offsets(store) if offset not in before]

    return lay


def offsets(store: Store) -> list[int]:
    return [offset for (offset,) in store.rows("SELECT log_offset FROM dead_letters ORDER BY log_offset")]


def kafka_letter(
    store: Store,
    value: bytes | None,
    headers: Headers | None = None,
    reason: str = "id is missing",
    arrived: datetime = EARLIER,
    offset: int = 1,
) -> None:
    letter = DeadLetter(Record(4, offset, milliseconds(arrived), value, headers), reason)
    store.insert_block("dead_letters", dead_letter_block([letter], milliseconds(NOW)), f"letter-{offset}")


def counted(store: Store) -> list[tuple[str, ...]]:
    """Return the id, time and data of all events."""
    return store.rows("SELECT id, formatDateTime(time, '%FT%T.%fZ', 'UTC'), data FROM events ORDER BY id")


def ids(store: Store) -> list[str]:
    return [row[0] for row in counted(store)]


def replayed(client: ApiClient, **body: object) -> dict[str, object]:
    answer = client.post(REPLAY, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def outcome(answer: dict[str, object]) -> tuple[object, object]:
    return answer["replayed"], answer["stillInvalid"]


# listing


def test_dead_letters_are_a_plain_array(client: ApiClient, refused: Callable[..., list[int]]) -> None:
    """Contract 3.3, D.13, D.22."""
    assert client.get(URL).json() == []

    refused(b"{}", b"[]")

    found = client.get(URL).json()
    assert [letter["reason"] for letter in found] == ["an event must be a JSON object", "id is missing"]
    assert "link" not in client.get(URL).headers
    assert {*found[0]} == {"arrivedAt", "storedAt", "partition", "offset", "reason", "value"}


def test_headers_are_listed_as_they_came(client: ApiClient, store: Store) -> None:
    kafka_letter(store, b'{"tokens":1}', [("ce_id", b"1"), ("ce_id", b"2"), ("trace", None)])

    (letter,) = client.get(URL).json()

    assert letter["headers"] == [["ce_id", "1"], ["ce_id", "2"], ["trace", None]]


def test_a_page_of_dead_letters_links_to_the_next_with_the_same_filter(client: ApiClient, store: Store) -> None:
    for offset in range(1, 7):
        kafka_letter(store, b"{}", reason="a & b" if offset % 2 else "c", offset=offset)

    first = client.get(f"{URL}?reason=a+%26&limit=2")
    second = client.get(first.links["next"]["url"])

    assert [letter["offset"] for letter in (*first.json(), *second.json())] == [5, 3, 1]
    assert "link" not in second.headers
    assert client.get(f"{URL}?before=nonsense").status_code == 400


def test_dead_letters_are_filtered(client: ApiClient, store: Store) -> None:
    kafka_letter(store, b"{}", reason="id is missing", offset=1)
    kafka_letter(store, b"{}", reason="source is missing", offset=2, arrived=EARLIER + timedelta(minutes=1))
    kafka_letter(store, b"[]", reason="time is too far in the future", offset=3, arrived=EARLIER + timedelta(minutes=2))
    replay.mark(store, [LogPosition(milliseconds(EARLIER), 4, 1)], milliseconds(NOW))

    def found(**parameters: str) -> list[int]:
        return [letter["offset"] for letter in client.get(URL, params=parameters).json()]

    assert found() == [3, 2, 1]
    assert found(reason="missing") == [2, 1]
    assert found(reason="Missing") == []
    assert found(partition="4", offset="2") == [2]
    assert found(partition="5") == []
    assert found(**{"from": stamp(EARLIER + timedelta(minutes=1))}) == [3, 2]
    assert found(to=stamp(EARLIER + timedelta(minutes=1))) == [1]
    assert found(replayed="false") == [3, 2]
    assert found(replayed="true") == [1]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("offset=-1", "offset"),
        ("partition=2147483648", "partition"),
        ("partition=first", "partition"),
        ("replayed=yes", "replayed"),
        ("from=yesterday", "from"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "from must be before to"),
        ("Reason=x", "Reason"),
    ],
)
def test_a_wrong_parameter_of_the_listing_is_named(still: ApiClient, query: str, named: str) -> None:
    """D.8."""
    answer = still.get(f"{URL}?{query}")

    assert answer.status_code == 400
    assert named in answer.json()["detail"]


# replays


def test_a_letter_that_is_an_event_today_is_metered(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    """Contract 3.3."""
    refused(ahead("a"), ahead("b"))

    answer = replayed(client, all=True)
    ingest(log, store)

    assert answer == {"replayed": 2, "stillInvalid": 0, "problems": []}
    assert ids(store) == ["a", "b"]
    assert all(parse_instant(letter["replayedAt"]) for letter in client.get(URL).json())


def test_letters_whose_event_is_stored_already_are_told(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    """K1: they are marked as replayed and add no usage. So is the second of two dead letters with the same event."""
    log.append([ahead("stored")], milliseconds(NOW)).result()
    ingest(log, store)
    refused(ahead("stored"), ahead("twice"), ahead("twice"), ahead("new"))

    tried = replayed(client, all=True, dryRun=True)
    answer = replayed(client, all=True)
    ingest(log, store)

    assert answer == tried == {"replayed": 4, "alreadyStored": 2, "stillInvalid": 0, "problems": []}
    assert ids(store) == ["new", "stored", "twice"]


def test_a_letter_that_is_no_event_today_either_is_told_with_todays_reason_and_stays(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    far, _, good = refused(ahead("far", days=31), b"{}", ahead("good"))

    answer = replayed(client, all=True)
    ingest(log, store)

    assert outcome(answer) == (1, 2)
    assert answer["problems"] == [
        {"arrivedAt": arrived(EARLIER), "partition": log.partition, "offset": offset, "reason": reason}
        for offset, reason in ((far, "time is too far in the future"), (far + 1, "id is missing"))
    ]
    assert ids(store) == ["good"]
    assert [letter["offset"] for letter in client.get(URL).json() if "replayedAt" in letter] == [good]


def arrived(at: datetime) -> str:
    return parse_instant(stamp(at)).text


def test_letters_are_chosen_by_position(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    refused(ahead("a"), ahead("b"), ahead("c"))
    listed = client.get(URL).json()

    answer = replayed(client, positions=[listed[0], listed[2]])
    ingest(log, store)

    assert outcome(answer) == (2, 0)
    assert ids(store) == ["a", "c"]


def test_a_position_without_a_letter_to_replay_is_told(client: ApiClient, refused: Callable[..., list[int]]) -> None:
    refused(ahead("a"))
    (letter,) = client.get(URL).json()
    nowhere = {**letter, "offset": letter["offset"] + 1}

    first = replayed(client, positions=[letter, nowhere, letter])
    second = replayed(client, positions=[letter])

    missing = "dead letter not found or already replayed"
    assert outcome(first) == (1, 0)
    assert [(problem["offset"], problem["reason"]) for problem in problems(first)] == [(nowhere["offset"], missing)]
    assert outcome(second) == (0, 0)
    assert [(problem["offset"], problem["reason"]) for problem in problems(second)] == [(letter["offset"], missing)]


def problems(answer: dict[str, object]) -> list[dict[str, object]]:
    found = answer["problems"]
    assert isinstance(found, list)
    return found


def test_letters_are_chosen_by_arrival_reason_and_place(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    refused(ahead("early"), arrived=EARLIER)
    second, _ = refused(ahead("late"), b"{}", arrived=EARLIER + timedelta(minutes=1))
    refused(ahead("latest"), arrived=EARLIER + timedelta(minutes=2))

    bounds = {"from": stamp(EARLIER + timedelta(minutes=1)), "to": stamp(EARLIER + timedelta(minutes=2))}
    assert outcome(replayed(client, **bounds, reason="source")) == (0, 0)
    assert outcome(replayed(client, **bounds, reason="future")) == (1, 0)
    ingest(log, store)
    assert ids(store) == ["late"]

    assert outcome(replayed(client, partition=log.partition, offset=second)) == (0, 0)  # it was already replayed
    assert outcome(replayed(client, partition=log.partition, offset=second - 1)) == (1, 0)
    ingest(log, store)
    assert ids(store) == ["early", "late"]


def test_a_try_tells_what_would_happen_and_changes_nothing(
    client: ApiClient, log: SqliteLog, refused: Callable[..., list[int]]
) -> None:
    refused(ahead("a"), b"{}")

    answer = replayed(client, all=True, dryRun=True)

    assert outcome(answer) == (1, 1)
    assert log.lag().records == 0
    assert outcome(replayed(client, all=True)) == (1, 1)


def test_a_replay_goes_on_where_another_stopped(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    refused(b"{}", ahead("a"), ahead("b"), b"{}", ahead("c"))

    first = replayed(client, all=True, limit=2)
    second = replayed(client, all=True, limit=2, after=first["next"])
    third = replayed(client, all=True, limit=2, after=second["next"])
    ingest(log, store)

    assert [(*outcome(answer), answer.get("remaining")) for answer in (first, second, third)] == [
        (1, 1, 3), (1, 1, 1), (1, 0, None),
    ]  # fmt: skip
    assert "next" not in third
    assert ids(store) == ["a", "b", "c"]


def test_no_more_than_a_hundred_problems_are_told_but_all_are_counted(
    client: ApiClient, refused: Callable[..., list[int]]
) -> None:
    refused(*[b"{}"] * 120)

    answer = replayed(client, all=True)

    assert outcome(answer) == (0, 120)
    assert len(problems(answer)) == 100


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "give exactly one of: positions; all; or filters (from, to, partition, offset, reason)"),
        ({"all": False}, "give exactly one of"),
        ({"all": True, "reason": "id"}, "give exactly one of"),
        ({"positions": []}, "positions"),
        ({"positions": [{"partition": 0, "offset": 1}]}, "positions.0.arrivedAt"),
        ({"positions": [{"partition": 0, "offset": -1, "arrivedAt": "2026-01-01T00:00:00Z"}]}, "positions.0.offset"),
        ({"positions": [{"partition": 0, "offset": 1, "arrivedAt": "2026-01-01T00:00:00Z"}], "limit": 1}, "limit"),
        ({"reason": ""}, "reason"),
        ({"from": "yesterday"}, "from: not an RFC 3339 timestamp"),
        ({"to": 1735689600}, "to: not an RFC 3339 timestamp"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from must be before to"),
        ({"all": True, "reasn": "id"}, "reasn"),
        ({"all": "yes"}, "all"),
        ({"all": True, "dryRun": 1}, "dryRun"),
        ({"partition": "0"}, "partition"),
        ({"offset": 1.0}, "offset"),
        ({"all": True, "limit": "1"}, "limit"),
        ({"all": True, "limit": 10_001}, "limit"),
        ({"all": True, "after": "nonsense"}, "cursor is invalid"),
        ({"all": True, "DryRun": True}, 'did you mean "dryRun"?'),
    ],
)
def test_a_wrong_body_of_a_replay_is_named(still: ApiClient, body: dict[str, object], named: str) -> None:
    """D.8: a misspelt selection must not select all dead letters."""
    answer = still.post(REPLAY, json=body)

    assert answer.status_code == 400
    assert named in answer.json()["detail"]


# exactly once


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


# what is sent


def test_an_event_without_a_time_happened_when_it_first_arrived(
    client: ApiClient, log: SqliteLog, store: Store
) -> None:
    data = b'{"n": 12345678901234567890.123456789012345678, "e":1e3 ,"t":"\\u00fc"}'
    core = b'"specversion":"1.0","source":"s","type":"t","subject":"\\u00fc"'
    broken = b'{"id":"%b",%b,%b"data":%b}'
    kafka_letter(store, broken % (b"absent", core, b"", data), offset=1)
    kafka_letter(store, broken % (b"null", core, b'"time" : null,', data), offset=2)
    kafka_letter(store, broken % (b"present", core, b'"time":"2026-01-02T03:04:05.678+01:00",', data), offset=3)

    answer = replayed(client, all=True)
    ingest(log, store)

    assert outcome(answer) == (3, 0)
    assert [(id_, time[:23]) for id_, time, _ in counted(store)] == [
        ("absent", stamp(EARLIER)[:23]),
        ("null", stamp(EARLIER)[:23]),
        ("present", "2026-01-02T02:04:05.678"),
    ]
    assert {text for _, _, text in counted(store)} == {data.decode()}


def test_what_the_log_had_lost_is_never_replayed(client: ApiClient, log: SqliteLog, store: Store) -> None:
    lost = "offsets 5 to 9 were deleted from the topic before they were read"
    kafka_letter(store, None, reason=lost)

    answer = replayed(client, all=True)

    assert outcome(answer) == (0, 1)
    assert [problem["reason"] for problem in problems(answer)] == [lost]
    assert log.lag().records == 0


def test_a_letter_in_binary_mode_is_sent_as_structured_json(client: ApiClient, log: SqliteLog, store: Store) -> None:
    headers = {"specversion": "1.0", "id": "b-1", "source": "s", "type": "prompt", "subject": "acme", "trace": "t-1"}
    ce: Headers = [*((f"ce_{name}", text.encode()) for name, text in headers.items()), ("other", b"\xff")]
    kafka_letter(store, b'{"tokens": 1.50}', [*ce, ("content-type", b"application/json")])

    answer = replayed(client, all=True)
    ingest(log, store)

    assert outcome(answer) == (1, 0)
    assert [(id_, time[:23], data) for id_, time, data in counted(store)] == [
        ("b-1", stamp(EARLIER)[:23], '{"tokens": 1.50}')
    ]
    assert store.rows("SELECT extensions FROM events") == [('{"trace":"t-1","datacontenttype":"application/json"}',)]


def test_letters_refused_for_their_content_type_by_an_older_release_are_events_now(
    client: ApiClient, log: SqliteLog, store: Store
) -> None:
    """C2, C3: the Python SDK's structured mode and the JavaScript SDK's binary mode."""
    json_type = ("content-type", b"application/json")
    attributes = {"specversion": "1.0", "id": "js", "source": "s", "type": "prompt", "subject": "acme"}
    ce: Headers = [*((f"ce_{name}", text.encode()) for name, text in attributes.items())]
    kafka_letter(store, orjson.dumps(event("py", "acme", stamp(EARLIER), {"tokens": 1})), [json_type], offset=1)
    both = [*ce, json_type, ("ce_datacontenttype", b"application/json")]
    kafka_letter(store, b'{"tokens": 2}', both, offset=2)

    answer = replayed(client, all=True)
    ingest(log, store)

    assert outcome(answer) == (2, 0)
    assert sorted((id_, data) for id_, _, data in counted(store)) == [("js", '{"tokens": 2}'), ("py", '{"tokens":1}')]


def test_a_header_that_was_no_text_makes_no_other_event_of_a_letter(client: ApiClient, store: Store) -> None:
    """The kept text may stand for any bytes. For headers that Meterport ignores this does not matter."""
    envelope = orjson.dumps(event("a", "acme", stamp(EARLIER), {}))
    kafka_letter(store, envelope, [("trace", b"\xff")], offset=1)
    kafka_letter(store, envelope, [("ce_id", b"\xff")], offset=2)

    answer = replayed(client, all=True)

    assert outcome(answer) == (1, 1)
    assert [problem["reason"] for problem in problems(answer)] == ["header ce_id was not UTF-8"]
