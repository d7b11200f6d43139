"""Data in base64, as `data_base64` of version 1.0 and as `data` of version 0.3: what is taken and what is refused."""

import base64
import json

import pytest

from tests.engine.events.one_event import decoded, envelope, refusal
from tests.engine.events.test_data import KEPT


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
