"""Bodies that are no event, and bodies that are split into a batch of events."""

import pytest

from engine.errors import InvalidEvent
from engine.events.cloudevents import split_batch
from tests.engine.events.one_event import envelope, refusal

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
