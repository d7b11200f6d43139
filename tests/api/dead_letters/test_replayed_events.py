"""A replay makes an event of a dead letter, and keeps its time, its attributes and its data."""

import orjson
import pytest

from engine.store.clickhouse import Store
from ingest.event_log import Headers
from ingest.sqlite.log import SqliteLog
from tests.api.conftest import event
from tests.api.dead_letters.letters import EARLIER, counted, ingest, kafka_letter, outcome, problems, replayed, stamp
from tests.harness.api_client import ApiClient

pytestmark = pytest.mark.thorough


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
