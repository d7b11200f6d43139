"""Generated batches give the same events and the same refusals as their events alone."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config.settings import IngestSettings
from engine.events.cloudevents import TimeSpan
from tests.engine.events.both_decoders import at_once, one_by_one
from tests.engine.events.generated_json import BROKEN, PROBED, TOKENS, VALUES
from tests.engine.events.one_event import ARRIVED, SPAN
from tests.engine.events.test_attributes import REQUIRED
from tests.engine.events.test_bulk_decoder import BEYOND_A_DOUBLE, WITHIN
from tests.engine.events.test_data import KEPT, REFUSED_DATA
from tests.harness.long_form import LONG

_DIGITS = st.sampled_from("0011223344556789")
_TIMES = st.builds(
    lambda parts, fraction, zone: "".join(parts) + fraction + zone,
    st.tuples(
        st.sampled_from(["0000-", "0001-", "1969-", "1970-", "2024-", "2025-", "2026-", "9999-", "202a-", "٢٠٢٥-"]),
        st.sampled_from(["00-", "01-", "02-", "06-", "12-", "13-", "1-", "01/"]),
        st.sampled_from(["00", "01", "28", "29", "30", "31", "32", "1"]),
        st.sampled_from(["T", "T", "T", "T", "t", " ", ""]),
        st.sampled_from(["00:00:00", "23:59:59", "24:00:00", "12:60:00", "12:00:60", "1:00:00", "12:00", "12-00:00"]),
    ),
    st.just("")
    | st.lists(_DIGITS, max_size=12).map(lambda digits: "." + "".join(digits))
    | st.sampled_from([",5", ".x"]),
    st.sampled_from(
        ["Z", "Z", "z", "", "+00:00", "-00:00", "+05:45", "-23:59", "+24:00", "+01:60", "+0100", " Z", "Z\n"]
    ),
)
_ORDINARY_TIMES = st.datetimes().map(lambda at: at.isoformat() + "Z") | st.datetimes(timezones=st.timezones()).map(
    lambda at: at.isoformat()
)
_TEXTS = st.sampled_from(["a", "customer-1", "ü", "😀", "a\nb", "\x7f", "\u2028", "", "x" * 600, "ü" * 1025]) | st.text(
    max_size=4
)
_MEDIA = st.sampled_from(["application/json", "APPLICATION/json; charset=utf-8", "text/plain", "x" * 200])


def _quoted(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda text, ascii_: json.dumps(text, ensure_ascii=ascii_).encode("utf-8", "surrogatepass"),
        texts,
        st.booleans(),
    )


def _mostly(usual: st.SearchStrategy[bytes], *seldom: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.integers(0, 4).flatmap(lambda roll: st.one_of(*seldom) if roll == 4 else usual)


_ODD = st.sampled_from([b"null", b"1", b"true", b"[]", b'{"a":1}', b'"\\ud800"', b'"\xff"', b"1e400", b""])
_DATA = _mostly(
    st.sampled_from([b"{}", b'{"v":1}', b'{"v":"1e999"}', b'{"id":"4e5678"}', b" null ", b'{"v":"\xc3\xbc"}']),
    PROBED,
    VALUES,
    st.sampled_from([*KEPT.values(), *REFUSED_DATA.values()]),
    st.sampled_from([*BEYOND_A_DOUBLE, *WITHIN]).map(lambda text: b'{"v":' + text.encode() + b"}"),
)
_MEMBERS = {
    "specversion": _mostly(st.just(b'"1.0"'), st.sampled_from([b'"0.3"', b'"1.1"', b"1.0"]), _ODD),
    **{name: _mostly(_quoted(_TEXTS), st.just(b'"1"'), _ODD) for name in REQUIRED},
}
_OPTIONAL = {
    "time": _mostly(_quoted(_ORDINARY_TIMES), _quoted(_TIMES), _ODD),
    "data": _DATA,
    "datacontenttype": _mostly(_quoted(_MEDIA), _ODD),
    "dataschema": _mostly(_quoted(_TEXTS), _ODD),
    "traceparent": _mostly(_quoted(_TEXTS), st.integers().map(lambda number: str(number).encode()), _ODD),
    "Upper": _ODD,
    "data_base64": _mostly(st.just(b'"eyJ2IjoxfQ=="'), _quoted(_TEXTS), _ODD),
    "datacontentencoding": _mostly(st.just(b'"base64"'), _ODD),
}


@st.composite
def _values(draw: st.DrawFn) -> bytes:
    """Generate an event. Most are valid. Members are in any order, and sometimes missing, unusual or duplicate."""
    absent = draw(st.sampled_from([(), (), (), (), (), ("id",), ("specversion",), ("subject", "type")]))
    names = [name for name in _MEMBERS if name not in absent]
    names += draw(st.lists(st.sampled_from([*_OPTIONAL, "time", "data", "data"]), max_size=4))
    names += draw(st.sampled_from([[], [], [], ["id"], ["data"]]))
    members = _MEMBERS | _OPTIONAL
    pairs = [json.dumps(name).encode() + b":" + draw(members[name]) for name in draw(st.permutations(names))]
    return draw(st.sampled_from([b"", b"", b" ", b"\xef\xbb\xbf"])) + b"{" + b",".join(pairs) + b"}"


_SPANS = st.sampled_from([SPAN, SPAN, TimeSpan(0, 10**15), TimeSpan.of(IngestSettings(future_seconds=0))])
_ANY = _mostly(_values(), BROKEN, st.binary(max_size=40), st.lists(TOKENS, max_size=25).map(b"".join))


@pytest.mark.long
@settings(max_examples=10_000 if LONG else 300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.lists(_ANY, max_size=8), late=st.lists(st.integers(-(10**9), 10**9), min_size=8, max_size=8), span=_SPANS
)
def test_any_batch_is_what_its_events_are_alone(values: list[bytes], late: list[int], span: TimeSpan) -> None:
    arrived = [ARRIVED + by for by in late[: len(values)]]

    assert at_once(values, arrived, span) == one_by_one(values, arrived, span)
