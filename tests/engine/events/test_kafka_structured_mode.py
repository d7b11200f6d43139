"""Kafka records in structured mode: which headers say that the value is the event.

Contract 3.5.
"""

import pytest

from engine.events.kafka import Headers, to_structured_json
from tests.engine.events.kafka_records import EVENT, binary, decoded, refusal

STRUCTURED: dict[str, Headers | None] = {
    "no headers": None,
    "an empty list of headers": [],
    "headers of others": [("traceparent", b"00-ab"), ("contentType", b"text/plain"), ("ce-x", b"2"), ("empty", None)],
    "its content type": [("content-type", b"application/cloudevents+json")],
    "with parameters": [("content-type", b"application/cloudevents+json; charset=UTF-8")],
    "in another case": [("Content-Type", b"Application/CloudEvents+JSON ;charset=utf-8")],
    "the headers of binary mode besides": [("content-type", b"application/cloudevents+json"), ("ce_id", b"2")],
    "broken headers of binary mode besides": [
        ("content-type", b"application/cloudevents+json"),
        *[("ce_id", b"\xff")] * 2,
    ],
    "a content type without a value": [("content-type", None)],
    "JSON and no attribute": [("content-type", b"application/json")],
    "JSON with parameters and no attribute": [("Content-Type", b"Application/JSON; charset=utf-8")],
    "JSON by its suffix and no attribute": [("content-type", b"application/vnd.acme.usage+json")],
    "the older type of JSON and no attribute": [("content-type", b"text/json")],
    "an empty content type and no attribute": [("content-type", b"")],
    "its content type and the names of HTTP": [("content-type", b"application/cloudevents+json"), ("ce-id", b"2")],
}


@pytest.mark.parametrize("headers", STRUCTURED.values(), ids=STRUCTURED)
def test_in_structured_mode_the_value_is_the_event(headers: Headers | None) -> None:
    assert to_structured_json(EVENT, headers) is EVENT


@pytest.mark.parametrize("value", [None, b""])
@pytest.mark.parametrize("headers", [None, [], [("content-type", b"application/cloudevents+json")]])
def test_in_structured_mode_there_is_a_value(value: bytes | None, headers: Headers | None) -> None:
    assert refusal(value, headers) == ("the record has no value", None)


@pytest.mark.parametrize(
    "kind", ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/cloudevents"]
)
def test_no_other_event_format_is_taken(kind: str) -> None:
    message = f"header content-type must be application/cloudevents+json in structured mode, not {kind!r}"

    assert refusal(b"[" + EVENT + b"]", [("content-type", kind.encode())]) == (message, None)


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/json+x", "avro/binary", "x"])
def test_without_attributes_in_the_headers_another_content_type_is_named(kind: str) -> None:
    """C3: the value is not parsed, because the content type says that it is something else."""
    message = f"header content-type is {kind!r}; without ce_ headers it must be application/cloudevents+json"

    assert refusal(EVENT, [("content-type", kind.encode())]) == (message, None)


@pytest.mark.parametrize("name", ["id", "source", "type", "subject", "specversion"])
@pytest.mark.parametrize("kind", [None, b"application/json", b"text/plain"])
@pytest.mark.parametrize("value", [EVENT, b'{"v":1}'])
def test_the_header_names_of_http_are_refused_by_name(name: str, kind: bytes | None, value: bytes) -> None:
    """N15: the value of such a record must not become another event than the headers describe."""
    headers = [(f"Ce-{name}", b"1"), ("content-type", kind)]

    assert refusal(value, headers) == (
        f"header ce-{name} must be named ce_{name}: the attributes of a Kafka record begin with ce_",
        name,
    )


def test_a_required_header_with_the_name_of_http_is_pointed_out() -> None:
    """N15."""
    headers = [(name.replace("ce_id", "ce-id"), text) for name, text in binary()]

    assert refusal(b"{}", headers) == ("header ce_id is missing, but there is ce-id", "id")


def test_the_header_names_of_http_beside_those_of_kafka_change_nothing() -> None:
    both = [*binary(), ("ce-id", b"2"), ("ce-id", b"\xff")]

    assert decoded(b"{}", both) == decoded(b"{}", binary())
