"""Events over HTTP in binary mode: the headers are the attributes, the body is the data.

Contract 3.1, D.32; cases N15 and C1. Source: CloudEvents HTTP protocol binding 1.0.2, 3.1.
"""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.api.conftest import BATCH, SINGLE, MemoryLog
from tests.harness.api_client import ApiClient

URL = "/api/v1/events"
JSON = "application/json"
ATTRIBUTES = {"ce-id": "b1", "ce-source": "k", "ce-type": "prompt", "ce-subject": "acme", "ce-specversion": "1.0"}
INNER = {
    "specversion": "1.0",
    "id": "inner",
    "source": "in",
    "type": "prompt",
    "subject": "evil",
    "data": {"tokens": 7},
}


def post(client: ApiClient, body: bytes, kind: str | None = JSON, **changed: str | bytes | None) -> Any:
    """Send an event in binary mode. `changed` changes attributes; None omits the header."""
    attributes = {**ATTRIBUTES, **{f"ce-{name}": value for name, value in changed.items()}}
    headers = [(name.encode(), _bytes(value)) for name, value in attributes.items() if value is not None]
    return client.post(URL, content=body, headers=[*headers, *([(b"content-type", kind.encode())] if kind else [])])


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def taken(log: MemoryLog) -> dict[str, Any]:
    (value,) = log.values
    return dict(orjson.loads(value))


def refusal(answer: Any) -> tuple[str, str | None]:
    """Return the text of the problem, and the attribute that it names."""
    assert answer.status_code == 400
    (problem,) = answer.json()["extensions"]["validationErrors"]
    assert answer.json()["detail"] == f"invalid event: {problem['message']}"
    assert problem["index"] == 0
    return problem["message"], problem["field"]


def test_in_binary_mode_the_body_is_data_even_where_it_is_itself_an_event(client: ApiClient, log: MemoryLog) -> None:
    """N15: before, the event in the body was metered, and the one of the headers was not."""
    assert post(client, orjson.dumps(INNER)).status_code == 204

    event = taken(log)
    assert (event["id"], event["source"], event["subject"]) == ("b1", "k", "acme")
    assert event["data"] == INNER


def test_an_event_in_binary_mode_is_counted_for_the_subject_of_its_headers(
    client: ApiClient, log: MemoryLog, meter: Callable[..., object]
) -> None:
    """N15."""
    meter(groupBy=None)

    assert post(client, b'{"tokens":5}', time="2025-01-01T00:00:00Z").status_code == 204
    log.drain()

    rows = client.get("/api/v1/meters/tokens_total/query?groupBy=subject").json()["data"]
    assert [(row["subject"], row["value"]) for row in rows] == [("acme", 5)]


def test_data_of_binary_mode_is_kept_byte_for_byte(client: ApiClient, log: MemoryLog) -> None:
    """D.12."""
    data = b'{ "z": 1,"a":12345678901234567890123, "z":2 }'

    assert post(client, data).status_code == 204

    assert log.values[0].endswith(b',"data":' + data + b"}")


@pytest.mark.parametrize("kind", [None, JSON, "Application/JSON; charset=utf-8", "application/vnd.x+json"])
def test_binary_data_is_json_and_so_it_is_without_a_content_type(
    client: ApiClient, log: MemoryLog, kind: str | None
) -> None:
    """C1: the simplest use of a published SDK sends no content type. C9: a suffix such as +json also means JSON."""
    assert post(client, b'{"tokens":5}', kind).status_code == 204

    assert taken(log).get("datacontenttype") == kind


def test_an_event_in_binary_mode_may_have_no_data(client: ApiClient, log: MemoryLog) -> None:
    assert post(client, b"", None).status_code == 204

    assert "data" not in taken(log)


@pytest.mark.parametrize(
    ("sent", "subject"),
    [
        ("Zo%C3%AB/%E2%82%AC%201%25", "Zoë/€ 1%"),
        ("%61%2f%2F", "a//"),
        ("100%", "100%"),
        ("a%zzb", "a%zzb"),
        ('"a b"', "a b"),
        (r'"say \"%41\\b\""', r'say "A\b"'),
        ('not "all" quoted', 'not "all" quoted'),
        ("a+b", "a+b"),
        ("Zoë".encode(), "Zoë"),
    ],
    ids=repr,
)
def test_values_of_headers_are_unquoted_and_decoded_once(
    client: ApiClient, log: MemoryLog, sent: str | bytes, subject: str
) -> None:
    """C1: HTTP binding 3.1.3.2."""
    assert post(client, b"{}", subject=sent).status_code == 204

    assert taken(log)["subject"] == subject


@pytest.mark.parametrize("sent", ["%C0%A0", "%ff", b"Zo\xeb", "%ED%A0%80"], ids=repr)
def test_a_value_that_is_not_utf8_is_refused_by_the_name_of_its_header(
    still: ApiClient, still_log: MemoryLog, sent: str | bytes
) -> None:
    message, _ = refusal(post(still, b"{}", subject=sent))

    assert message.startswith("header ce-subject is not UTF-8 in percent-encoding: ")
    assert still_log.values == []


@pytest.mark.parametrize("name", ["id", "source", "type", "subject", "specversion"])
def test_a_missing_attribute_is_named_and_so_is_the_mode(still: ApiClient, still_log: MemoryLog, name: str) -> None:
    message, field = refusal(post(still, orjson.dumps(INNER), **{name: None}))

    assert message == f"header ce-{name} is missing: a request with ce- headers is one CloudEvent in binary mode"
    assert field == name
    assert still_log.values == []


REFUSED: dict[str, tuple[bytes, str | None, dict[str, str | bytes | None], str, str | None]] = {
    "text": (
        b"hello",
        "text/plain",
        {},
        "header content-type must name a type of JSON, not 'text/plain': ",
        "datacontenttype",
    ),
    "bytes": (b"\0", "application/octet-stream", {}, "header content-type must name a type of JSON", "datacontenttype"),
    "a batch": (
        orjson.dumps([INNER]),
        JSON,
        {},
        "data must be a JSON object or null, not an array: a request ",
        "data",
    ),
    "a text in JSON": (b'"a"', JSON, {}, "data must be a JSON object or null", "data"),
    "no JSON": (b"garbage", None, {}, "data is not JSON: ", "data"),
    "an attribute smuggled in": (b'{"v":1},"subject":"other"', JSON, {}, "data is not JSON: ", "data"),
    "an empty attribute": (b"{}", JSON, {"id": ""}, "id must not be empty", "id"),
    "a control character": (b"{}", JSON, {"subject": "a%0Ab"}, "subject holds a control character", "subject"),
    "another version": (b"{}", JSON, {"specversion": "2.0"}, "specversion must be 1.0, not '2.0'", "specversion"),
    "data as a header": (b"{}", JSON, {"data": "{}"}, "header 'ce-data' names no attribute", None),
    "a name that is none": (b"{}", JSON, {"data_base64": "e30="}, "header 'ce-data_base64' names no attribute", None),
    "two types": (
        b"{}",
        JSON,
        {"datacontenttype": "text/plain"},
        "headers content-type and ce-datacontenttype differ",
        "datacontenttype",
    ),
}


@pytest.mark.parametrize(("body", "kind", "changed", "message", "field"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_event_in_binary_mode_is_refused_by_name(
    still: ApiClient,
    still_log: MemoryLog,
    body: bytes,
    kind: str | None,
    changed: dict[str, str | bytes | None],
    message: str,
    field: str | None,
) -> None:
    found = refusal(post(still, body, kind, **changed))

    assert found[0].startswith(message)
    assert found[1] == field
    assert still_log.values == []


def test_a_type_of_data_that_is_there_twice_and_the_same_does_no_harm(client: ApiClient, log: MemoryLog) -> None:
    """C2, over HTTP."""
    assert post(client, b"{}", JSON, datacontenttype=JSON).status_code == 204
    assert post(client, b"{}", None, datacontenttype=JSON).status_code == 204

    assert [orjson.loads(value)["datacontenttype"] for value in log.values] == [JSON, JSON]


def test_a_header_that_is_there_twice_is_refused(still: ApiClient) -> None:
    headers = [*ATTRIBUTES.items(), ("ce-id", "b2")]

    assert refusal(still.post(URL, content=b"{}", headers=headers)) == ("header ce-id appears twice", "id")


@pytest.mark.parametrize(
    ("kind", "body"), [(SINGLE, orjson.dumps(INNER)), (BATCH, orjson.dumps([INNER]))], ids=["structured", "batched"]
)
def test_with_a_content_type_of_cloudevents_the_body_counts_and_the_headers_do_not(
    client: ApiClient, log: MemoryLog, kind: str, body: bytes
) -> None:
    """N15: see section 3 of the HTTP binding."""
    assert post(client, body, kind).status_code == 204

    assert taken(log) == INNER


@pytest.mark.parametrize(
    "kind", ["application/cloudevents+avro", "application/cloudevents", "application/cloudevents+xml"]
)
def test_another_format_of_cloudevents_is_not_taken_for_binary_mode(still: ApiClient, kind: str) -> None:
    answer = post(still, b"{}", kind)

    assert (answer.status_code, answer.json()["detail"]) == (400, f"invalid content type: {kind}")


@pytest.mark.parametrize("headers", [{"cex-id": "1"}, {"x-ce-id": "1"}, {"traceparent": "00-ab"}], ids=str)
def test_other_headers_make_no_binary_mode(client: ApiClient, log: MemoryLog, headers: dict[str, str]) -> None:
    answer = client.post(URL, content=orjson.dumps(INNER), headers={**headers, "content-type": JSON})

    assert answer.status_code == 204
    assert taken(log) == INNER
