"""Events that are decoded together give the same events and the same refusals, word for word, as one by one."""

import json
from collections.abc import Sequence

import pytest

from engine.events.cloudevents import TimeSpan
from tests.engine.events.both_decoders import Result, at_once, one_by_one
from tests.engine.events.one_event import ARRIVED, DAY_MS, SPAN, envelope
from tests.engine.events.test_attributes import EXTENSIONS, REQUIRED
from tests.engine.events.test_bodies import REFUSED_BODIES
from tests.engine.events.test_data import KEPT, REFUSED_DATA
from tests.engine.events.test_data_in_base64 import BASE64, OLD_BASE64, in_base64
from tests.engine.events.test_times import NO_INSTANTS, NO_TIMES, TIMES


def check(values: Sequence[bytes], *arrived: int, span: TimeSpan = SPAN) -> Result:
    """Decode values in both ways: each in its own batch, and all together."""
    took = arrived or [ARRIVED] * len(values)
    for value, at_ms in zip(values, took, strict=True):
        assert at_once([value], [at_ms], span) == one_by_one([value], [at_ms], span)
    result = at_once(values, took, span)
    assert result == one_by_one(values, took, span)
    return result


LEDGER = {
    "data that is kept": [envelope(data) for data in KEPT.values()],
    "data that is refused": [envelope(data) for data in REFUSED_DATA.values()],
    "data that is no object": [
        envelope(data) for data in (b"1", b"-1", b'"n"', b"true", b"false", b"[]", b"[{}]", b"null")
    ],
    "long data that is no object": [
        envelope(data) for data in (b'"' + b"n" * 1200 + b'"', b"[" + b"1," * 600 + b"1]", b"1" * 140 + b" " * 1000)
    ],
    "bodies that are no event": list(REFUSED_BODIES.values()),
    "data in base64": [in_base64(data) for data in KEPT.values()]
    + [value for value, _ in BASE64.values()]
    + [in_base64(b'{"v":1}', **more) for more in ({"ext": "1"}, {"dataschema": "urn:s"}, {"data": None})]
    + [in_base64(b'{"v":1}', datacontenttype=kind) for kind in ("application/json", "text/plain", "a/b+json")],
    "data in base64 of version 0.3": [
        *OLD_BASE64.values(),
        envelope(b'"eyJ2IjoxfQ=="', specversion="0.3", datacontentencoding="base64"),
        envelope(b'"eyJ2IjoxfQ=="', specversion="0.3", datacontentencoding="base64", ext="1", dataschema="urn:s"),
        envelope(b'{"v":1}', specversion="0.3", datacontentencoding="base64"),
        envelope(b'{"v":1}', specversion="0.3", datacontentencoding=1),
    ],
    "times": [envelope(time=text) for text, _ in TIMES.values()],
    "texts that are no time": [envelope(time=text) for text in NO_TIMES],
    "instants that never were": [envelope(time=text) for text in NO_INSTANTS.values()],
    "extensions that are refused": [envelope()[:-1] + b"," + member + b"}" for member, *_ in EXTENSIONS.values()],
    "attributes of every length": [
        envelope(**{name: character * length})
        for name in REQUIRED
        for character in ("x", "ü", "😀")
        for length in (0, 1, 511, 512, 513, 1024, 1025, 2048, 2049)
    ],
    "characters that do not print": [
        envelope(**{name: f"a{chr(code)}b"})
        for name in REQUIRED
        for code in (0, 9, 31, 32, 127, 128, 159, 160, 0xAD, 0x2028, 0xFEFF, 0xE000)
    ],
    "content types": [
        envelope(b'{"v":1}', datacontenttype=kind)
        for kind in ("application/json", " Application/JSON ;charset=x", "application/json\u00a0", "text/json", "")
    ]
    + [envelope(datacontenttype="application/json;" + "x" * length) for length in (111, 112, 2029, 2030)],
    "an escaped content type near the limit of an extension": [
        envelope(datacontenttype="application/json").replace(b"application/json", b"application/json;" + b"\\u0041" * n)
        for n in (338, 339)
    ],
    "extensions that are kept": [
        envelope(b'{"v":1}', **attributes)
        for attributes in (
            {"traceparent": "00-ab", "n": 7, "b": True, "none": None, "text": "ü"},
            {"dataschema": "urn:s"},
            {"dataschema": "urn:s", "datacontenttype": "application/json"},
            {"datacontenttype": "text/plain", "ext": "1"},
            {"ext": "1", "time": "2025-12-24T10:00:00Z", "id": "x" * 513},
            {"ext": "1", "time": "never"},
            {"ext": "1", "subject": "a\nb"},
            {"dataschema": 1},
        )
    ],
    "broken UTF-8 in the first of two members": [
        envelope()[:-1] + members
        for members in (
            b',"data":{"v":"\xff"},"data":{}}',
            b',"data":{"v":"\xff"},"data":{},"ext":1}',
            b',"data":{"v":"\xff"},"data":{},"dataschema":"urn:s"}',
            b',"data":{"v":"\xff"},"data":{},"datacontenttype":"application/json"}',
            b',"ext":"\xff","ext":"ok"}',
        )
    ],
    "versions": [envelope(specversion=version) for version in ("1.0", "0.3", "1.1", "")],
    "a time and none, in turns": [envelope(time=text) for text in (None, "2025-12-24T10:00:00Z") * 3],
}


@pytest.mark.parametrize("values", LEDGER.values(), ids=LEDGER)
def test_a_batch_is_what_its_events_are_alone(values: list[bytes]) -> None:
    check(values)


@pytest.mark.parametrize(
    "text", ["2025-12-24T10:00:00.25Z", "2024-02-29T23:59:59-09:30", "2025-12-24T10:00:00.125456+00:00"]
)
def test_no_character_of_a_time_is_taken_for_another(text: str) -> None:
    others = [chr(code) for code in range(32, 127)] + ["", "٢", "00"]
    changed = [text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in others]
    values = [envelope(time=changed_text) for changed_text in changed]

    assert at_once(values, [ARRIVED] * len(values)) == one_by_one(values, [ARRIVED] * len(values))


def test_nothing_at_all_is_a_batch_too() -> None:
    assert check([]) == ([], [])


def test_events_that_are_refused_leave_the_others_in_their_order() -> None:
    values = [envelope(id=str(at)) if at % 3 else envelope(id=str(at), source="") for at in range(10)]

    events, refused = check(values)

    assert [event.id for event in events] == ["1", "2", "4", "5", "7", "8"]
    assert refused == [(at, "source must not be empty", "source") for at in (0, 3, 6, 9)]


BEYOND_A_DOUBLE = [
    "1e309",
    "1E+309",
    "-1.8e0308",
    "1e999999999999",
    "9" * 309,
    "-" + "9" * 400 + ".5",
    "9" * 200 + "e200",
]
WITHIN = ["1e308", "1e-999", "9" * 308, "1e00000000000000000001", "0e999", "0." + "9" * 400, "9" * 149 + "e99"]


@pytest.mark.parametrize("text", [*BEYOND_A_DOUBLE, *WITHIN])
@pytest.mark.parametrize("form", ['{"v":%s}', '{"v": [1, %s ] , "w":2}', '{"e":"0e0","v":%s,"w":"1e9999"}'])
def test_a_number_beyond_a_double_is_found_wherever_it_stands(text: str, form: str) -> None:
    ordinary = [envelope(b'{"v":1}', id=str(at)) for at in range(3)]

    events, refused = check([*ordinary, envelope((form % text).encode()), *ordinary])

    beyond = [(3, "data: a number is larger than a double can hold", "data")]
    assert refused == (beyond if text in BEYOND_A_DOUBLE else [])
    assert len(events) == 7 - len(refused)


def test_what_looks_like_a_number_within_a_text_is_none() -> None:
    data = json.dumps({"trace": "4e123e0000e+999", "digits": "7" * 1000}).encode()

    assert check([envelope(data)])[0][0].data == data


def test_pieces_of_data_do_not_make_one_another_valid() -> None:
    halves = [b'{"v":"\xc3"}', b'{"v":"\xa9"}', b'{"v":"\xc3\xa9"}', b'{"v":"\xe2\x82"}', b'{"v":"\xac"}']

    events, refused = check([envelope(data) for data in halves])

    assert [event.data for event in events] == [halves[2]]
    assert [at for at, *_ in refused] == [0, 1, 3, 4]


def test_deep_data_is_measured_and_long_data_is_not_taken_for_deep() -> None:
    deep = [b'{"v":' + b"[" * levels + b"]" * levels + b"}" for levels in (499, 500)]
    wide = b'{"v":[' + b"{}," * 1000 + b"1]}"

    events, refused = check([envelope(data) for data in (*deep, wide)])

    assert [event.data for event in events] == [deep[0], wide]
    assert refused == [(1, "data is nested deeper than 500 levels", "data")]


def test_each_event_is_measured_from_its_own_arrival() -> None:
    value = envelope(time="2026-01-02T00:00:00.001Z")

    events, refused = check([value, value, envelope()], ARRIVED, ARRIVED + 1, ARRIVED + 5)

    assert [event.time_ms for event in events] == [ARRIVED + DAY_MS + 1, ARRIVED + 5]
    assert refused == [(0, "time is too far in the future", "time")]


@pytest.mark.parametrize("span", [TimeSpan(-(10**15), 10**18), TimeSpan(0, 10**30), TimeSpan(ARRIVED, 0)], ids=str)
def test_any_span_is_kept(span: TimeSpan) -> None:
    texts = ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z"]
    texts += ["2025-12-31T23:59:59.999Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z"]
    texts += [
        "2099-12-31T23:59:59.999Z",
        "2100-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "2100-01-01T00:00:00+00:01",
    ]

    check([envelope(), *(envelope(time=text) for text in texts)], span=span)
