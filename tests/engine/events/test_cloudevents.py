"""What becomes an event, what is refused with which message, and that `data` keeps the bytes that were sent."""

import base64
import json
from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config.settings import IngestSettings
from engine.errors import InvalidEvent
from engine.events.cloudevents import TimeSpan, decode_event, split_batch
from engine.events.event import Event, event_block
from engine.store.clickhouse import Store
from tests.harness.long_form import LONG

ARRIVED = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SPAN = TimeSpan.of(IngestSettings())
DAY_MS = 86_400_000


def envelope(data: bytes = b"", /, **attributes: object) -> bytes:
    """Return an event. An attribute that is None is left out. `data` is inserted unchanged."""
    values: dict[str, object] = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "subject": "u"}
    kept = {name: value for name, value in (values | attributes).items() if value is not None}
    body = json.dumps(kept).encode()
    return body[:-1] + b',"data":' + data + b"}" if data else body


def decoded(value: bytes) -> Event:
    return decode_event(value, ARRIVED, 0, 7, SPAN)


def refusal(value: bytes) -> tuple[str, str | None]:
    with pytest.raises(InvalidEvent) as refused:
        decoded(value)
    return str(refused.value), refused.value.field


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


# --- attributes -------------------------------------------------------------------------------------------------------


def test_an_event_is_its_attributes_its_data_and_its_place_in_the_log() -> None:
    event = decoded(
        b'{"specversion":"1.0","id":"e-1","source":"/api","type":"call","subject":"Kundin \xc3\xbc",'
        b'"time":"2025-12-24T10:00:00.25Z","data":{"v":1}}'
    )

    assert event == Event(
        id="e-1",
        source="/api",
        type="call",
        subject="Kundin ü",
        time_ms=ms("2025-12-24T10:00:00.250+00:00"),
        data=b'{"v":1}',
        extensions=b"",
        arrived_ms=ARRIVED,
        partition=0,
        offset=7,
        key=event.key,
    )
    assert len(event.key) == 16


REQUIRED = ["id", "source", "type", "subject"]


@pytest.mark.parametrize("name", [*REQUIRED, "specversion"])
def test_a_required_attribute_that_is_missing_is_named(name: str) -> None:
    assert refusal(envelope(**{name: None})) == (f"{name} is missing", name)


@pytest.mark.parametrize("name", REQUIRED)
def test_an_empty_attribute_is_refused(name: str) -> None:
    assert refusal(envelope(**{name: ""})) == (f"{name} must not be empty", name)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize(("json_type", "value"), [("int", 1), ("bool", True), ("array", []), ("object", {})])
def test_an_attribute_that_is_no_text_is_refused(name: str, json_type: str, value: object) -> None:
    assert refusal(envelope(**{name: value})) == (f"{name} must be str, not {json_type}", name)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("text", ["x" * 2048, "ü" * 1024, "😀" * 512], ids=["ASCII", "two bytes", "four bytes"])
def test_an_attribute_may_have_2048_bytes_and_no_more(name: str, text: str) -> None:
    assert getattr(decoded(envelope(**{name: text})), name) == text
    assert refusal(envelope(**{name: text + "x"})) == (f"{name} is longer than 2048 bytes", name)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("character", ["\0", "\n", "\t", "\x1f", "\x7f", "\x80", "\x9f"], ids=repr)
def test_a_control_character_is_refused(name: str, character: str) -> None:
    assert refusal(envelope(**{name: f"a{character}b"})) == (f"{name} holds a control character", name)


@pytest.mark.parametrize(
    "text", [" ", "a b", "\xa0", "\u2028", "\ufeff", "\u200b", "'", '"', "\\", "%s", "客户", "😀"], ids=ascii
)
def test_any_other_character_is_kept(text: str) -> None:
    assert decoded(envelope(subject=text)).subject == text


@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_these_versions_of_cloudevents_are_taken(version: str) -> None:
    assert decoded(envelope(specversion=version)).id == "1"


@pytest.mark.parametrize("version", ["", "1", "1.0 ", "1.1", "2.0"])
def test_another_version_is_refused(version: str) -> None:
    assert refusal(envelope(specversion=version)) == (f"specversion must be 1.0, not {version!r}", "specversion")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_the_content_type_of_data(kind: str) -> None:
    assert decoded(envelope(b'{"v":1}', datacontenttype=kind)).data == b'{"v":1}'


@pytest.mark.parametrize("kind", ["", "application/xml", "json", "/json", "+json", "application/json+x", "text/jsonp"])
def test_data_of_another_content_type_is_refused(kind: str) -> None:
    refused = ("datacontenttype must be application/json or another type of JSON", "datacontenttype")

    assert refusal(envelope(b'{"v":1}', datacontenttype=kind)) == refused


def test_optional_attributes_may_be_null() -> None:
    event = decoded(
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"u",'
        b'"time":null,"datacontenttype":null,"dataschema":null,"data":null}'
    )

    assert (event.time_ms, event.data, event.extensions) == (ARRIVED, b"null", b"")


def test_extensions_and_what_describes_data_are_kept_beside_the_event() -> None:
    event = decoded(
        envelope(
            b'{"v":1}',
            traceparent="00-ab",
            partitionkey=7,
            sampled=True,
            ratio=0.5,
            dataschema="https://example.com/schema",
            datacontenttype="application/json",
        )
    )

    assert json.loads(event.extensions) == {
        "traceparent": "00-ab",
        "partitionkey": 7,
        "sampled": True,
        "ratio": 0.5,
        "dataschema": "https://example.com/schema",
        "datacontenttype": "application/json",
    }
    assert event.data == b'{"v":1}'


EXTENSIONS: dict[str, tuple[bytes, str, str]] = {
    "an upper-case name": (
        b'"traceParent":1',
        "attribute name 'traceParent' must be lower-case letters and digits",
        "traceParent",
    ),
    "an empty name": (b'"":1', "attribute name '' must be lower-case letters and digits", ""),
    "a name with a newline behind it": (
        b'"a\\n":1',
        "attribute name 'a\\n' must be lower-case letters and digits",
        "a\n",
    ),
    "an object": (b'"ext":{"a":1}', "ext must be a string, a number, a boolean or null", "ext"),
    "an array": (b'"ext":[]', "ext must be a string, a number, a boolean or null", "ext"),
    "too long": (b'"ext":"' + b"x" * 2047 + b'"', "ext is longer than 2048 bytes", "ext"),
}


@pytest.mark.parametrize(("member", "message", "field"), EXTENSIONS.values(), ids=EXTENSIONS)
def test_an_extension_that_cloudevents_does_not_allow_is_refused(member: bytes, message: str, field: str) -> None:
    assert refusal(envelope()[:-1] + b"," + member + b"}") == (message, field)


def test_an_extension_that_is_null_is_as_if_it_were_absent() -> None:
    assert decoded(envelope()[:-1] + b',"ext":null}').extensions == b""


# --- data -------------------------------------------------------------------------------------------------------------

KEPT = {
    "odd spacing": b'{ "v" :\t1 ,\r\n "w":[ ] }',
    "big integers": b'{"v":123456789012345678901234567890123456789}',
    "more digits than a double has": b'{"v":0.1234567890123456789012345}',
    "duplicate keys": b'{"v":1,"v":2,"v":3}',
    "escapes as they were": b'{"v":"\\u00fc\\/\\ud83d\\ude00"}',
    "a NUL, escaped": b'{"v":"\\u0000"}',
    "keys in their order": b'{"b":1,"a":2}',
    "an empty object": b"{}",
    "brackets within a text": b'{"v":"' + b"[{" * 600 + b'"}',
    "100 levels": b'{"v":' + b"[" * 99 + b"]" * 99 + b"}",
    "500 levels": b'{"v":' + b"[" * 499 + b"]" * 499 + b"}",
    "the largest double": b'{"v":1.7976931348623157e308}',
    "smaller than a double": b'{"v":1e-400}',
    "minus zero": b'{"v":-0}',
    "null": b"null",
}


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT)
def test_data_is_kept_byte_for_byte(data: bytes) -> None:
    assert decoded(envelope(data)).data == data


def test_absent_data_is_empty_and_null_is_null() -> None:
    assert decoded(envelope()).data == b""
    assert decoded(envelope(b" null ")).data == b"null"


@pytest.mark.parametrize("data", [b'"text"', b"1", b"-1.5", b"true", b"false", b"[]", b'[{"v":1}]'], ids=repr)
def test_data_is_an_object_or_null(data: bytes) -> None:
    assert refusal(envelope(data)) == ("data must be a JSON object or null", "data")


# --- data in base64 ---------------------------------------------------------------------------------------------------


def in_base64(data: bytes, /, **attributes: object) -> bytes:
    """Return an event with its data in `data_base64`."""
    return envelope(**{"data_base64": base64.b64encode(data).decode(), **attributes})


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT)
def test_data_in_base64_is_kept_as_the_bytes_it_stands_for(data: bytes) -> None:
    """Cases N16, C4: JSON format 1.0.2, 3.1."""
    event = decoded(in_base64(data))

    assert event == decoded(envelope(data))
    assert event.extensions == b""


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.x+json"])
def test_data_in_base64_may_be_said_to_be_json(kind: str) -> None:
    assert decoded(in_base64(b'{"v":1}', datacontenttype=kind)) == decoded(envelope(b'{"v":1}', datacontenttype=kind))


def test_white_space_around_data_in_base64_is_left_out() -> None:
    assert decoded(in_base64(b' \r\n{"v" : 1}\t')).data == b'{"v" : 1}'


def test_an_empty_text_in_base64_is_no_data() -> None:
    assert decoded(in_base64(b"")).data == b""


@pytest.mark.parametrize("other", ["data", "data_base64"])
def test_of_the_two_members_for_data_one_may_be_null(other: str) -> None:
    used = {"data": {"v": 1}, "data_base64": "eyJ2IjoxfQ=="}

    assert json.loads(decoded(envelope(**{**used, other: None})).data) == {"v": 1}
    del used[other]
    assert json.loads(decoded(envelope(**used)[:-1] + b',"%b":null}' % other.encode()).data) == {"v": 1}


BASE64: dict[str, tuple[bytes, str]] = {
    "both members": (
        in_base64(b'{"v":1}', data={"v": 1}),
        "an event has data or data_base64, not both",
    ),
    "no base64": (envelope(data_base64="{}"), "data_base64 is not base64"),
    "without padding": (envelope(data_base64="eyJ2IjoxfQ"), "data_base64 is not base64"),
    "the alphabet of addresses": (envelope(data_base64="eyJ2IjoiPz8_In0="), "data_base64 is not base64"),
    "a line break": (envelope(data_base64="eyJ2\nIjoxfQ=="), "data_base64 is not base64"),
    "no ASCII": (envelope(data_base64="ü"), "data_base64 is not base64"),
    "bytes": (in_base64(b"\x00\x01\xff"), "data_base64 must be a JSON object or null in base64"),
    "a text": (in_base64(b'"text"'), "data_base64 must be a JSON object or null in base64"),
    "a byte order mark": (in_base64(b"\xef\xbb\xbf{}"), "data_base64 must be a JSON object or null in base64"),
    "half an object": (in_base64(b'{"v":'), "data_base64 is not JSON: "),
    "two objects": (in_base64(b"{}{}"), "data_base64 is not JSON: "),
    "an attribute smuggled in": (in_base64(b'{"v":1},"subject":"other"'), "data_base64 is not JSON: "),
    "invalid UTF-8": (in_base64(b'{"v":"\xff"}'), "data_base64 is not JSON: "),
    "beyond a double": (in_base64(b'{"v":1e400}'), "data_base64: a number is larger than a double can hold"),
    "a control character": (in_base64(b'{"v":"\n"}'), "data_base64 is not JSON: "),
    "501 levels": (
        in_base64(b'{"v":' + b"[" * 500 + b"]" * 500 + b"}"),
        "data_base64 is nested deeper than 500 levels",
    ),
    "100,000 levels": (in_base64(b'{"v":' + b"[" * 100_000), "data_base64 is nested deeper than 500 levels"),
    "a number": (envelope(data_base64=1), "data_base64 must be str, not int"),
    "an object": (envelope(data_base64={}), "data_base64 must be str, not object"),
}


@pytest.mark.parametrize(("value", "message"), BASE64.values(), ids=BASE64)
def test_data_base64_that_is_no_data_is_refused_by_name(value: bytes, message: str) -> None:
    """Cases N16, C4: before, the reason was about lower-case names."""
    refused, field = refusal(value)

    assert refused.startswith(message)
    assert field == "data_base64"


def test_data_of_another_type_is_refused_by_its_type_in_base64_too() -> None:
    assert refusal(in_base64(b"\x00", datacontenttype="application/octet-stream"))[1] == "datacontenttype"


def test_an_event_of_version_0_3_may_have_a_text_in_base64_as_data() -> None:
    """Case C9: CloudEvents 0.3 uses `datacontentencoding` instead of the `data_base64` of 1.0."""
    old = envelope(b'"eyJ2IjoxfQ=="', specversion="0.3", datacontentencoding="Base64", ext="kept")

    event = decoded(old)

    assert (event.data, event.extensions) == (b'{"v":1}', b'{"ext":"kept"}')


OLD_BASE64 = {
    "another encoding": envelope(b'"eyJ2IjoxfQ=="', specversion="0.3", datacontentencoding="gzip"),
    "of version 1.0": envelope(b'"eyJ2IjoxfQ=="', specversion="1.0", datacontentencoding="base64"),
    "no base64": envelope(b'"{}"', specversion="0.3", datacontentencoding="base64"),
    "bytes": envelope(b'"AAH/"', specversion="0.3", datacontentencoding="base64"),
    "both members": envelope(
        b'"eyJ2IjoxfQ=="', specversion="0.3", datacontentencoding="base64", data_base64="eyJ2IjoxfQ=="
    ),
}


@pytest.mark.parametrize("value", OLD_BASE64.values(), ids=OLD_BASE64)
def test_another_text_as_data_is_refused(value: bytes) -> None:
    assert refusal(value)[1] in {"data", "data_base64"}


def test_an_object_as_data_is_taken_whatever_its_encoding_is_said_to_be() -> None:
    for version in ("0.3", "1.0"):
        event = decoded(envelope(b'{"v":1}', specversion=version, datacontentencoding="base64"))

        assert (event.data, event.extensions) == (b'{"v":1}', b'{"datacontentencoding":"base64"}')


REFUSED_DATA = {
    "501 levels": b'{"v":' + b"[" * 500 + b"]" * 500 + b"}",
    "100,000 levels": b'{"v":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects 501 levels deep": b'{"v":' * 501 + b"1" + b"}" * 501,
    "a lone surrogate": b'{"v":"\\ud800"}',
    "a lone low surrogate": b'{"v":"\\udc00x"}',
    "a lone surrogate in a key": b'{"\\ud800":1}',
    "NaN": b'{"v":NaN}',
    "Infinity": b'{"v":-Infinity}',
    "beyond a double": b'{"v":1e400}',
    "an integer beyond a double": b'{"v":1' + b"0" * 400 + b"}",
    "beyond a double where no meter looks": b'{"v":1,"w":[{"x":-1e999}]}',
    "a leading zero": b'{"v":01}',
    "a bare point": b'{"v":.5}',
    "a plus sign": b'{"v":+1}',
    "a trailing comma": b'{"v":1,}',
    "a comment": b'{"v":1/* one */}',
    "a key without quotes": b"{v:1}",
    "single quotes": b"{'v':1}",
    "a control character": b'{"v":"\n"}',
    "an escape that is none": b'{"v":"\\x41"}',
    "invalid UTF-8": b'{"v":"\xff"}',
    "UTF-8 of a surrogate": b'{"v":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"v":"\xc0\xaf"}',
    "no-break space between tokens": b'{"v":\xc2\xa01}',
    "not closed": b'{"v":1',
}


@pytest.mark.parametrize("data", REFUSED_DATA.values(), ids=REFUSED_DATA)
def test_data_that_a_strict_parser_would_not_read_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decoded(envelope(data))


REFUSED_BODIES = {
    "nothing": b"",
    "blank": b" \n",
    "no JSON": b"garbage",
    "a text": b'"a"',
    "a number": b"1",
    "null": b"null",
    "a batch": b"[" + envelope() + b"]",
    "two events": envelope() + envelope(),
    "something behind it": envelope() + b"x",
    "a byte order mark": b"\xef\xbb\xbf" + envelope(),
    "UTF-16": envelope().decode().encode("utf-16"),
    "invalid UTF-8 in an attribute": envelope().replace(b'"u"', b'"\xff"'),
    "invalid UTF-8 in a name": envelope()[:-1] + b',"\xff":1}',
    "invalid UTF-8 in an extension": envelope()[:-1] + b',"ext":"\xff"}',
    "invalid UTF-8 in an extension beside a content type": (
        envelope(datacontenttype="application/json")[:-1] + b',"\xff":1}'
    ),
    "a lone surrogate in an attribute": envelope().replace(b'"u"', b'"\\ud800"'),
    "a lone surrogate in an extension": envelope()[:-1] + b',"ext":"\\udfff"}',
    "a lone surrogate in a name": envelope()[:-1] + b',"\\udfff":1}',
    "a deep extension": envelope()[:-1] + b',"ext":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a deep attribute": envelope()[:-1] + b',"time":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("value", REFUSED_BODIES.values(), ids=REFUSED_BODIES)
def test_what_is_no_event_is_refused_with_words_that_can_be_printed(value: bytes) -> None:
    message, field = refusal(value)

    assert message
    assert "\n" not in message
    assert f"{message}{field}".encode()


# --- time -------------------------------------------------------------------------------------------------------------

TIMES = {
    "Z": ("2025-12-24T10:00:00Z", "2025-12-24T10:00:00.000+00:00"),
    "lower case": ("2025-12-24t10:00:00z", "2025-12-24T10:00:00.000+00:00"),
    "an offset east": ("2025-12-24T10:00:00+05:45", "2025-12-24T04:15:00.000+00:00"),
    "an offset west": ("2025-12-24T10:00:00-09:30", "2025-12-24T19:30:00.000+00:00"),
    "an unknown offset": ("2025-12-24T10:00:00-00:00", "2025-12-24T10:00:00.000+00:00"),
    "one digit": ("2025-12-24T10:00:00.5Z", "2025-12-24T10:00:00.500+00:00"),
    "cut, not rounded": ("2025-12-24T10:00:00.9999Z", "2025-12-24T10:00:00.999+00:00"),
    "cut, not rounded, at nanoseconds": ("2025-12-24T10:00:00.999999999Z", "2025-12-24T10:00:00.999+00:00"),
    "cut at twenty digits": ("2025-12-24T10:00:00.00199999999999999999Z", "2025-12-24T10:00:00.001+00:00"),
    "a leap day": ("2024-02-29T23:59:59.999Z", "2024-02-29T23:59:59.999+00:00"),
    "the first instant": ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000+00:00"),
    "the first instant, elsewhere": ("1969-12-31T19:00:00-05:00", "1970-01-01T00:00:00.000+00:00"),
    "a millisecond after it": ("1970-01-01T00:00:00.0019Z", "1970-01-01T00:00:00.001+00:00"),
    "a day ahead": ("2026-01-02T00:00:00Z", "2026-01-02T00:00:00.000+00:00"),
    "a day ahead and less than a millisecond": ("2026-01-02T00:00:00.0009Z", "2026-01-02T00:00:00.000+00:00"),
}


@pytest.mark.parametrize(("text", "instant"), TIMES.values(), ids=TIMES)
def test_times(text: str, instant: str) -> None:
    assert decoded(envelope(time=text)).time_ms == ms(instant)


def test_an_event_without_a_time_has_the_time_the_log_took_it() -> None:
    assert decoded(envelope()).time_ms == ARRIVED


NO_TIMES = [
    *("", "now", "2025-12-24", "2025-12-24T10:00:00", "2025-12-24T10:00Z", "2025-12-24 10:00:00Z", "1766570400"),
    *("2025-12-24T10:00:00+0100", "2025-12-24T10:00:00+01", "2025-12-24T10:00:00,5Z", "2025-12-24T10:00:00.Z"),
    *("20251224T100000Z", "2025-12-24T10:00:00Z ", " 2025-12-24T10:00:00Z", "2025-12-24T10:00:00Z\n"),
    *("٢٠٢٥-12-24T10:00:00Z", "2025-358T10:00:00Z", "2025-W52-3T10:00:00Z", "2025-12-24T10:00:00 Z"),
]


@pytest.mark.parametrize("text", NO_TIMES, ids=ascii)
def test_a_time_is_an_rfc_3339_timestamp_with_an_offset(text: str) -> None:
    assert refusal(envelope(time=text)) == ("time must be an RFC 3339 timestamp with an offset", "time")


NO_INSTANTS = {
    "a leap second": "2016-12-31T23:59:60Z",
    "hour 24": "2025-12-24T24:00:00Z",
    "minute 60": "2025-12-24T10:60:00Z",
    "a day that is none": "2025-02-29T10:00:00Z",
    "month 13": "2025-13-01T10:00:00Z",
    "year 0": "0000-01-01T00:00:00Z",
    "an offset of a day": "2025-12-24T10:00:00+24:00",
    "beyond the last year": "9999-12-31T23:59:59-23:00",
    "before the first year": "0001-01-01T00:00:00+23:00",
}


@pytest.mark.parametrize("text", NO_INSTANTS.values(), ids=NO_INSTANTS)
def test_a_time_that_never_was_is_refused(text: str) -> None:
    message, field = refusal(envelope(time=text))

    assert message.startswith("time ")
    assert field == "time"


def test_an_offset_of_sixty_minutes_is_refused() -> None:
    refusal(envelope(time="2025-12-24T10:00:00+01:60"))


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59.999Z", "1970-01-01T00:59:59+01:00", "0001-01-01T00:00:00Z"])
def test_a_time_before_1970_is_refused(text: str) -> None:
    assert refusal(envelope(time=text)) == ("time is before the earliest accepted time", "time")


@pytest.mark.parametrize("text", ["2026-01-02T00:00:00.001Z", "2026-01-02T01:00:00Z", "2200-01-01T00:00:00Z"])
def test_a_time_more_than_a_day_after_its_arrival_is_refused(text: str) -> None:
    assert refusal(envelope(time=text)) == ("time is too far in the future", "time")


def test_how_far_is_measured_from_the_arrival_not_from_the_clock() -> None:
    value = envelope(time="2026-01-02T00:00:00.001Z")

    assert decode_event(value, ARRIVED + 1, 0, 1, SPAN).time_ms == ARRIVED + DAY_MS + 1


def test_the_span_is_a_setting_but_no_time_is_past_2099() -> None:
    wide = TimeSpan.of(IngestSettings(earliest_time="2020-01-01T00:00:00Z", future_seconds=10**11))

    with pytest.raises(InvalidEvent, match="before the earliest"):
        decode_event(envelope(time="2019-12-31T23:59:59Z"), ARRIVED, 0, 1, wide)
    last = decode_event(envelope(time="2099-12-31T23:59:59.999Z"), ARRIVED, 0, 1, wide)
    with pytest.raises(InvalidEvent, match="too far in the future"):
        decode_event(envelope(time="2100-01-01T00:00:00Z"), ARRIVED, 0, 1, wide)

    assert last.time_ms == 4_102_444_799_999


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_split_into_the_texts_that_were_sent() -> None:
    assert split_batch(b' [ {"a" : 1} ,\n[],"x", null, {"a":{"b":[1 ,2]}}] ') == [
        b'{"a" : 1}',
        b"[]",
        b'"x"',
        b"null",
        b'{"a":{"b":[1 ,2]}}',
    ]


def test_an_empty_batch_holds_nothing() -> None:
    assert split_batch(b"[]") == []


NO_BATCHES = [
    b"",
    b"{}",
    b"null",
    b'"[]"',
    b"[",
    b"[1,]",
    b"[1] 2",
    b"\xef\xbb\xbf[]",
    b"[" * 100_000,
    b'["\xff',
    b"\xff",
]


@pytest.mark.parametrize("body", NO_BATCHES, ids=lambda body: repr(body[:8]))
def test_what_is_no_json_array_is_no_batch(body: bytes) -> None:
    with pytest.raises(InvalidEvent, match="not a JSON array of events"):
        split_batch(body)


# --- any bytes --------------------------------------------------------------------------------------------------------

_TOKENS = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b",",
            b'"',
            b"\\",
            b" ",
            b"\n",
            b"null",
            b"true",
            b"1",
            b"-0",
            b"1e400",
            b"NaN",
        ),
        *(b'"id"', b'"source"', b'"type"', b'"subject"', b'"time"', b'"data"', b'"specversion"', b'"1.0"', b'"ext"'),
        *(b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc3", b"\\u", b"\\ud800", b'"\\udc00"', b"\0", b"\x7f", b"{}"),
    ]
)
_BROKEN = st.builds(
    lambda value, at, width, junk: value[: at % len(value)] + junk + value[at % len(value) + width :],
    st.sampled_from([envelope(b'{"v":[1,{"w":"x"}]}', time="2025-12-24T10:00:00.5+01:00", ext="y"), envelope(b"{}")]),
    st.integers(0, 500),
    st.integers(0, 3),
    st.one_of(_TOKENS, st.binary(max_size=4)),
)


def only_refuses(decode: Callable[[bytes], object], value: bytes) -> None:
    try:
        decode(value)
    except InvalidEvent as error:
        assert f"{error}{error.field}".encode()


@settings(max_examples=1000 if LONG else 300, deadline=None)
@given(value=st.one_of(st.binary(max_size=40), st.lists(_TOKENS, max_size=25).map(b"".join), _BROKEN))
def test_any_bytes_are_an_event_or_an_invalid_one(value: bytes) -> None:
    only_refuses(decoded, value)
    only_refuses(split_batch, value)


_TEXTS = st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
_SCALARS = st.one_of(
    st.sampled_from(
        [b"0", b"-0", b"-0.0", b"1e400", b"-1e309", b"1e308", b"1e-400", b"1e+05", b"01", b"1.", b".5", b"--1"]
    )
    | st.sampled_from([b"null", b"nul", b"true", b"NaN", b"Infinity", b'"\\u0000"', b'"\\ud83d\\ude00"', b'"\\ud83d"'])
    | st.sampled_from(
        [b'"\\udc00"', b'"\\x"', b'"\x01"', b'"\x7f"', b'"\xff"', b'"\xf4\x90\x80\x80"', b"", b"'a'", b"\xc2\xa01"]
    ),
    st.integers(0, 420).map(lambda digits: b"9" * digits + b"1"),
    st.integers(0, 420).map(lambda digits: b"0." + b"0" * digits + b"1"),
    st.integers(0, 340).map(lambda digits: b"9" * digits + b".5e-300"),
    st.floats().map(lambda number: json.dumps(number).encode()),
    _TEXTS,
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: b"[" + b",".join(items) + b"]")
        | st.lists(st.tuples(_TEXTS, inner), max_size=3).map(
            lambda pairs: b"{" + b" , ".join(key + b":" + value for key, value in pairs) + b"}"
        )
        | st.tuples(st.integers(1, 520), inner).map(lambda deep: b"[" * deep[0] + deep[1] + b"]" * deep[0])
    ),
    max_leaves=6,
)
_SPACE = st.sampled_from([b"", b" ", b"\t", b"\r\n", b"\x0b", b"\x0c", b"\xc2\xa0", b"\xef\xbb\xbf", b"\0"])
_PROBED = st.builds(
    lambda key, value, space, first: (
        b'{"probe":"found",' + space + key + b":" + value + space + b"}"
        if first
        else b"{" + key + space + b":" + value + b"," + space + b'"probe":"found"}'
    ),
    _TEXTS.filter(lambda key: key != b'"probe"'),
    _VALUES,
    st.just(b"") | _SPACE,
    st.booleans(),
)


def test_whatever_is_accepted_the_engine_can_read(store: Store) -> None:
    accepted: list[Event] = []
    tried = 0

    @settings(max_examples=1500 if LONG else 400, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(data=_PROBED)
    def collect(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            event = decode_event(envelope(data), ARRIVED, 0, tried, SPAN)
        except InvalidEvent:
            return
        accepted.append(event)

    collect()
    store.insert_block("events", event_block(accepted, ARRIVED), "accepted")

    unread = store.rows("SELECT data FROM events WHERE JSON_VALUE(data, '$.probe') != 'found' ORDER BY length(data)")
    assert unread == []
    assert store.rows("SELECT count() FROM events") == [(len(accepted),)]
    assert tried // 4 < len(accepted) < tried * 9 // 10, "too many or too few are refused to tell anything"
