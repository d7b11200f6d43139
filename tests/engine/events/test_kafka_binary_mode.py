"""Kafka records in binary mode: the headers are the attributes, and the value is the data.

Contract 3.5.
"""

import json

import pytest

from engine.events.cloudevents import decode_event
from engine.events.kafka import Headers
from tests.engine.events.kafka_records import EVENT, binary, decoded, refusal
from tests.engine.events.one_event import ARRIVED, SPAN


def test_in_binary_mode_headers_are_the_attributes_and_the_value_is_data() -> None:
    headers = binary(ce_time=b"2025-12-24T10:00:00.5Z", kind=b"application/json", ce_traceparent=b"00-ab")

    event = decoded(b'{"v": 1}', headers)

    assert event == decode_event(
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"u","time":"2025-12-24T10:00:00.5Z",'
        b'"datacontenttype":"application/json","traceparent":"00-ab","data":{"v": 1}}',
        *(ARRIVED, 0, 7, SPAN),
    )


VERBATIM = {
    "big integers": b'{"v":9007199254740993,"w":123456789012345678901234567890}',
    "more digits than a double has": b'{"v":0.1234567890123456789012345}',
    "odd spacing": b'{ "v" :\t1 }',
    "doubled names": b'{"v":1,"v":2}',
    "escapes as they were": b'{"v":"\\u00fc\\/"}',
    "null": b"null",
}


@pytest.mark.parametrize("value", VERBATIM.values(), ids=VERBATIM)
def test_data_is_the_bytes_of_the_value(value: bytes) -> None:
    assert decoded(value, binary()).data == value


@pytest.mark.parametrize("value", [None, b""])
def test_without_a_value_there_is_no_data(value: bytes | None) -> None:
    assert decoded(value, binary()).data == b""


@pytest.mark.parametrize(
    "kind",
    [b"application/json", b"application/json; charset=utf-8", b"Application/JSON", b"application/vnd.x+json"],
)
def test_json_is_the_content_type_of_data(kind: bytes) -> None:
    assert json.loads(decoded(b'{"v":1}', binary(kind=kind)).extensions) == {"datacontenttype": kind.decode()}


@pytest.mark.parametrize("kind", [b"", b" ", b"application/avro", b"text/plain", b"application/json+x"])
@pytest.mark.parametrize("value", [None, b"{}", b"\x00avro"])
def test_data_of_another_content_type_is_refused_as_in_structured_mode(kind: bytes, value: bytes | None) -> None:
    refused = ("datacontenttype must be application/json or another type of JSON", "datacontenttype")

    assert refusal(value, binary(kind=kind)) == refused
    assert refusal(EVENT[:-1] + b',"datacontenttype":"%b"}' % kind, None) == refused


@pytest.mark.parametrize("also", [b"application/json", b"Application/JSON", b"application/json; charset=utf-8"])
def test_the_content_type_may_also_come_as_an_attribute(also: bytes) -> None:
    """C2: the JavaScript SDK sends it this way. If both have the same media type, the content type is kept."""
    alone = decoded(b"{}", binary(ce_datacontenttype=b"application/json"))

    assert json.loads(alone.extensions) == {"datacontenttype": "application/json"}
    for headers in (
        binary(kind=b"application/json", ce_datacontenttype=also),
        [("ce_datacontenttype", also), *binary(kind=b"application/json")],
    ):
        assert decoded(b"{}", headers) == alone


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_content_type_and_an_attribute_that_differ_are_both_named(kind: str) -> None:
    """C2."""
    other = {"text/plain": "application/json", "application/json": "text/plain"}[kind]

    assert refusal(b"{}", binary(kind=kind.encode(), ce_datacontenttype=other.encode())) == (
        f"headers content-type ({kind!r}) and ce_datacontenttype ({other!r}) say different types",
        "datacontenttype",
    )


def test_the_attribute_of_the_content_type_is_there_once() -> None:
    headers = [*binary(), *[("ce_datacontenttype", b"application/json")] * 2]

    assert refusal(b"{}", headers) == ("header ce_datacontenttype appears twice", "datacontenttype")


@pytest.mark.parametrize("name", ["id", "source", "type", "subject", "specversion"])
@pytest.mark.parametrize("absent", ["left out", "without a value"])
def test_a_required_header_that_is_missing_is_named(name: str, absent: str) -> None:
    others = [(header, text) for header, text in binary() if header != f"ce_{name}"]
    headers = others if absent == "left out" else [*others, (f"ce_{name}", None)]

    assert refusal(b"{}", headers) == (f"header ce_{name} is missing", name)


def test_json_that_is_no_event_is_refused_as_an_event() -> None:
    """C3: without ce_ headers the value is the event, and its attributes are missing."""
    assert refusal(b'{"v":1}', [("content-type", b"application/json")])[0].endswith(" is missing")


def test_names_of_headers_are_compared_without_case() -> None:
    headers = [(name.upper(), text) for name, text in binary(kind=b"application/json")]

    assert decoded(b'{"v":1}', headers) == decoded(b'{"v":1}', binary(kind=b"application/json"))


@pytest.mark.parametrize("text", ["100%25", "a b", "Kundin ü", "客户 😀", '"', "\\", "\\u0041"])
def test_values_mean_what_they_say(text: str) -> None:
    assert decoded(None, binary(ce_subject=text.encode())).subject == text


def test_extensions_are_texts() -> None:
    event = decoded(None, binary(ce_sampled=b"true", ce_number=b"7", ce_none=None))

    assert json.loads(event.extensions) == {"sampled": "true", "number": "7"}


REFUSED_HEADERS: dict[str, tuple[Headers, str, str | None]] = {
    "an attribute twice": ([*binary(), ("ce_id", b"1")], "header ce_id appears twice", "id"),
    "an attribute twice, in two cases": ([*binary(), ("CE_ID", b"2")], "header ce_id appears twice", "id"),
    "an extension twice": (
        [*binary(), ("ce_ext", b"1"), ("ce_ext", b"1")],
        "header ce_ext appears twice",
        "ext",
    ),
    "two content types": (
        [*binary(), *[("content-type", b"application/json")] * 2],
        "header content-type appears twice",
        None,
    ),
    "an attribute that is not UTF-8": (
        binary(ce_subject=b"a\xffb"),
        "header ce_subject is not UTF-8: invalid start byte at byte 1",
        None,
    ),
    "an extension that is not UTF-8": (
        binary(ce_ext=b"\xed\xa0\x80"),
        "header ce_ext is not UTF-8: invalid continuation byte at byte 0",
        None,
    ),
    "a content type that is not UTF-8": (
        binary(kind=b"\xff"),
        "header content-type is not UTF-8: invalid start byte at byte 0",
        None,
    ),
    "data as a header": (binary(ce_data=b"{}"), "header 'ce_data' names no attribute", None),
    "no name": ([*binary(), ("ce_", b"1")], "header 'ce_' names no attribute", None),
    "a name that is none": ([*binary(), ("ce_a-b", b"1")], "header 'ce_a-b' names no attribute", None),
    "a name with a newline": ([*binary(), ("ce_a\n", b"1")], "header 'ce_a\\n' names no attribute", None),
    "a name with a surrogate": ([*binary(), ("ce_\udcff", b"1")], "header 'ce_\\udcff' names no attribute", None),
    "a name with letters of others": ([*binary(), ("ce_ä", b"1")], "header 'ce_ä' names no attribute", None),
    "an empty attribute": (binary(ce_id=b""), "id must not be empty", "id"),
    "a control character": (binary(ce_subject=b"a\nb"), "subject holds a control character", "subject"),
    "an attribute that is too long": (binary(ce_id=b"x" * 2049), "id is longer than 2048 bytes", "id"),
    "an extension that is too long": (binary(ce_ext=b"x" * 2047), "ext is longer than 2048 bytes", "ext"),
    "another version": (binary(ce_specversion=b"2.0"), "specversion must be 1.0, not '2.0'", "specversion"),
    "a time that is none": (
        binary(ce_time=b"now"),
        "time must be an RFC 3339 timestamp with an offset",
        "time",
    ),
}


@pytest.mark.parametrize(("headers", "message", "field"), REFUSED_HEADERS.values(), ids=REFUSED_HEADERS)
def test_headers_that_make_no_event_are_refused(headers: Headers, message: str, field: str | None) -> None:
    assert refusal(b"{}", headers) == (message, field)


REFUSED_VALUES = {
    "no JSON": (b"garbage", "data is not JSON"),
    "blank": (b" ", "data is not JSON"),
    "not closed": (b'{"v":1', "data is not JSON"),
    "something behind it": (b'{"v":1} x', "data is not JSON"),
    "a second value": (b'{"v":1},{"v":2}', "data is not JSON"),
    "an attribute smuggled in": (b'{"v":1},"subject":"other"', "data is not JSON"),
    "an end smuggled in": (b'{"v":1}}', "data is not JSON"),
    "invalid UTF-8": (b'{"v":"\xff"}', "data is not JSON"),
    "a lone surrogate": (b'{"v":"\\ud800"}', "data is not JSON"),
    "a byte order mark in it": (b'{"v":\xef\xbb\xbf1}', "data is not JSON"),
    "beyond a double": (b'{"v":1e400}', "data: a number is larger than a double can hold"),
    "a text": (b'"a"', "data must be a JSON object or null"),
    "an array": (b"[]", "data must be a JSON object or null"),
    "501 levels": (b'{"v":' + b"[" * 500 + b"]" * 500 + b"}", "data is nested deeper than 500 levels"),
    "100,000 levels": (b"[" * 100_000 + b"]" * 100_000, "data is nested deeper than 500 levels"),
}


@pytest.mark.parametrize(("value", "message"), REFUSED_VALUES.values(), ids=REFUSED_VALUES)
def test_a_value_that_is_no_data_is_refused(value: bytes, message: str) -> None:
    refused, field = refusal(value, binary())

    assert refused.startswith(message)
    assert field == "data"
