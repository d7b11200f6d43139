"""Generated Kafka records: both modes give the same event, and any record is an event or is refused.

Contract 3.5.
"""

import json
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InvalidEvent
from engine.events.kafka import Headers
from tests.engine.events.kafka_records import EVENT, binary, decoded
from tests.harness.long_form import LONG

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
