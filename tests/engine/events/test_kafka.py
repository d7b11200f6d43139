"""The event of a Kafka record: structured mode, binary mode, and records that are neither.

Contract 3.5.
"""

import gzip
import json
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config.settings import IngestSettings
from engine.errors import InvalidEvent
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import Event
from engine.events.kafka import Headers, to_structured_json
from tests.harness.long_form import LONG

ARRIVED = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SPAN = TimeSpan.of(IngestSettings())
EVENT = b'{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"u","data":{"v":1}}'
ATTRIBUTES = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"s", "ce_type": b"t", "ce_subject": b"u"}


def binary(**changed: bytes | None) -> Headers:
    """Return the headers of a record in binary mode. `kind` is its content-type. None leaves a header out."""
    named = {("content-type" if name == "kind" else name): text for name, text in changed.items()}
    return [(name, text) for name, text in (ATTRIBUTES | named).items() if name not in named or text is not None]


def decoded(value: bytes | None, headers: Headers | None) -> Event:
    return decode_event(to_structured_json(value, headers), ARRIVED, 0, 7, SPAN)


def refusal(value: bytes | None, headers: Headers | None) -> tuple[str, str | None]:
    with pytest.raises(InvalidEvent) as refused:
        decoded(value, headers)
    return str(refused.value), refused.value.field


# --- structured mode --------------------------------------------------------------------------------------------------

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


# --- other forms of a value -------------------------------------------------------------------------------------------

OTHER_FORMS = {
    "Confluent": (b"\0\0\0\x01\x0c" + EVENT, "begins with the prefix of a schema registry (byte 0 and schema id 268)"),
    "Glue": (b"\x03\0" + b"u" * 16 + EVENT, "begins with the prefix of the AWS Glue schema registry"),
    "Glue, compressed": (b"\x03\x05" + b"u" * 16 + EVENT, "begins with the prefix of the AWS Glue schema registry"),
    "gzip": (gzip.compress(EVENT), "is compressed with gzip"),
    "zstd": (b"\x28\xb5\x2f\xfd\x20\x01", "is compressed with zstd"),
    "lz4": (b"\x04\x22\x4d\x18\x40", "is compressed with lz4"),
    "snappy": (b"\x82SNAPPY\0\0\0\0\x01", "is compressed with snappy"),
    "framed snappy": (b"\xff\x06\0\0sNaPpY", "is compressed with snappy"),
    "Avro": (b"Obj\x01\x04", "is an Avro file"),
    "UTF-16": (EVENT.decode().encode("utf-16"), "is UTF-16"),
    "UTF-16, big-endian": (b"\xfe\xff" + EVENT.decode().encode("utf-16-be"), "is UTF-16"),
    "UTF-16 without a mark": (EVENT.decode().encode("utf-16-le"), "is UTF-16"),
    "UTF-16 without a mark, big-endian": (EVENT.decode().encode("utf-16-be"), "is UTF-16"),
    "UTF-32": (EVENT.decode().encode("utf-32"), "is UTF-32"),
    "UTF-32, big-endian": (b"\0\0\xfe\xff" + EVENT.decode().encode("utf-32-be"), "is UTF-32"),
    "UTF-32 without a mark": (EVENT.decode().encode("utf-32-le"), "is UTF-32"),
    "UTF-32 without a mark, big-endian": (EVENT.decode().encode("utf-32-be"), "is UTF-32"),
}


@pytest.mark.parametrize(("value", "form"), OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_a_value_in_another_form_is_refused_by_the_name_of_the_form(value: bytes, form: str) -> None:
    """N21, in both modes."""
    advice = "; send the JSON text alone, in UTF-8"

    assert refusal(value, None) == (f"the value {form}{advice}", None)
    assert refusal(value, binary(kind=b"application/json")) == (f"data {form}{advice}", "data")


def test_a_byte_order_mark_before_the_value_is_passed_over() -> None:
    """N21, RFC 8259 §8.1."""
    assert to_structured_json(b"\xef\xbb\xbf" + EVENT, None) == EVENT
    assert decoded(b'\xef\xbb\xbf{"v": 1}', binary()).data == b'{"v": 1}'
    assert refusal(b"\xef\xbb\xbf", None) == ("the record has no value", None)
    assert decoded(b"\xef\xbb\xbf", binary()).data == b""
    assert refusal(b"\xef\xbb\xbf" * 2 + EVENT, None)[0].startswith("not JSON")


def test_white_space_before_the_value_is_no_other_form() -> None:
    assert decoded(b" \t\r\n" + EVENT, None).subject == "u"


# --- binary mode ------------------------------------------------------------------------------------------------------


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


# --- any events -------------------------------------------------------------------------------------------------------

_PRINTED = st.characters(exclude_categories=["Cs", "Cc"])
_TEXTS = st.text(_PRINTED, min_size=1, max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(_PRINTED),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(_PRINTED), inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.builds(
    lambda value, indent, ascii_: json.dumps(value, indent=indent, ensure_ascii=ascii_).encode(),
    st.dictionaries(st.text(_PRINTED), _JSON, max_size=4),
    st.sampled_from([None, 1]),
    st.booleans(),
)
_ATTRIBUTES = st.fixed_dictionaries(
    {"specversion": st.sampled_from(["1.0", "0.3"]), **dict.fromkeys(("id", "source", "type", "subject"), _TEXTS)},
    optional={
        "time": st.datetimes().map(lambda at: at.replace(year=2025, day=1).isoformat() + "Z"),
        "datacontenttype": st.sampled_from(["application/json", "Application/JSON;charset=utf-8"]),
        "dataschema": _TEXTS,
        "traceparent": _TEXTS,
        "n0": st.text(_PRINTED, max_size=5),
    },
)


@settings(max_examples=500 if LONG else 150, deadline=None, suppress_health_check=list(HealthCheck))
@given(attributes=_ATTRIBUTES, data=st.none() | st.just(b"null") | _OBJECTS)
def test_binary_mode_and_structured_mode_are_the_same_event(attributes: dict[str, str], data: bytes | None) -> None:
    body = json.dumps(attributes).encode()
    whole = body if data is None else body[:-1] + b',"data":' + data + b"}"
    headers = [
        ("content-type" if name == "datacontenttype" else f"ce_{name}", text.encode())
        for name, text in attributes.items()
    ]

    assert decoded(data, headers) == decoded(whole, None)


_NAMES = st.sampled_from(
    ["ce_id", "ce_subject", "ce_data", "ce-id", "content-type", "ce_datacontenttype", "CE_Type", "ce_ext", "x"]
) | st.text(max_size=6)
_RAW = (
    st.none() | st.sampled_from([b"1.0", b"application/json", b"application/cloudevents+json"]) | st.binary(max_size=6)
)


@settings(max_examples=1000 if LONG else 300, deadline=None)
@given(
    value=st.none() | st.binary(max_size=20) | st.just(EVENT),
    base=st.sampled_from([[], binary()]),
    more=st.lists(st.tuples(_NAMES, _RAW), max_size=4),
)
def test_any_record_is_an_event_or_an_invalid_one(
    value: bytes | None, base: Headers, more: Sequence[tuple[str, bytes | None]]
) -> None:
    try:
        decoded(value, [*base, *more])
    except InvalidEvent as error:
        assert "\n" not in str(error)
        assert f"{error}{error.field}".encode()
