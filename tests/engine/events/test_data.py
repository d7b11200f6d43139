"""`data` is an object or null, keeps the bytes that were sent, and is refused where a strict parser would refuse it."""

import pytest

from engine.errors import InvalidEvent
from tests.engine.events.one_event import decoded, envelope, refusal

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
