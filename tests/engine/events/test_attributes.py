"""Attributes of an event: which are required, which are refused with which message, and which extensions are kept."""

import json

import pytest

from engine.events.event import Event
from tests.engine.events.one_event import ARRIVED, decoded, envelope, ms, refusal


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
