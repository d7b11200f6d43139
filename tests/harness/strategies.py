"""Generated events, meters and queries, which concentrate on the cases where usage can go wrong.

Owns: what "any input" means to the property tests: only input that ingest and the API accept, but the most difficult of
it. There are few names and values, so that groups, filters and duplicates collide. Times are close to the instants when
a zone changes its clocks, a date begins or a minute ends. `cases()` draws events, meter and queries near the same ones.
Limits: no lone surrogates, no NUL, no number literals beyond a double, data is an object, null or absent, no times
before 1970.
"""

import json
from collections.abc import Mapping
from datetime import UTC, timedelta, timezone
from typing import TypeVar

from hypothesis import strategies as st

from tests.harness.oracle import Event, Meter, Query
from tests.harness.oracle_time import EPOCH, instant

# By zone: instants (UTC) near which its clocks or its calendar do something worth testing.
ZONE_INSTANTS: Mapping[str, tuple[str, ...]] = {
    "UTC": ("1970-01-01T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z", "2025-01-01T00:00:00Z"),
    "America/New_York": ("2025-03-09T07:00:00Z", "2025-11-02T06:00:00Z", "2025-11-01T04:00:00Z"),
    "Europe/London": ("1971-10-31T02:00:00Z", "2025-03-30T01:00:00Z", "2025-10-26T01:00:00Z"),
    "Asia/Kolkata": ("2025-03-31T18:30:00Z", "2024-12-31T18:30:00Z"),
    "Asia/Kathmandu": ("1985-12-31T18:30:00Z", "2025-06-14T18:15:00Z"),
    "Australia/Lord_Howe": ("2025-04-05T15:00:00Z", "2025-10-04T15:30:00Z", "2025-09-30T13:30:00Z"),
    "America/St_Johns": ("1988-04-03T03:31:00Z", "2010-03-14T03:31:00Z", "2010-11-07T02:31:00Z"),
    "America/Sao_Paulo": ("2018-02-18T02:00:00Z", "2018-11-04T03:00:00Z"),
    "America/Caracas": ("2007-12-09T07:00:00Z", "2016-05-01T07:00:00Z"),
    "Pacific/Apia": ("2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
    "Pacific/Chatham": ("2025-04-05T14:00:00Z", "2025-09-27T14:00:00Z"),
    "Africa/Cairo": ("2024-04-25T22:00:00Z", "2024-10-31T21:00:00Z"),
    "Africa/Monrovia": ("1972-01-07T00:44:30Z", "1972-01-01T00:44:30Z"),
    "Antarctica/Troll": ("2025-03-30T01:00:00Z", "2025-10-26T01:00:00Z"),
    "Asia/Tehran": ("2022-03-21T20:30:00Z", "2022-09-21T19:30:00Z"),
}
SUBJECTS = ("customer-1", "customer-2", "Kundin ü", "客户")
EVENT_TYPES = ("prompt", "request")
VALUE_PATHS = ("$.v", "$['v']", "$.nested.v", "$.nested['v']", '$["a b"]', '$."a b"', "$.list[0]", "$.list[1].v")
WILDCARD_PATHS = ("$.list[*]", "$.list[*].v", "$.list[0 to 2]")
DIMENSIONS = {
    "model": "$.model",
    "region": "$.nested.region",
    "first": "$.list[0].v",
    "size_1": "$['size']",
    "_gone": "$.nowhere",
}
OFFSETS_MINUTES = (0, 60, -300, 330, 345, 630, -210, 840, -720)
DAY_MS = 86_400_000
STEPS_MS = (0, 1, 1_000, 60_000, 900_000, 1_800_000, 3_600_000, DAY_MS)

T = TypeVar("T")


def _mostly(usual: st.SearchStrategy[T], *seldom: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Draw from `usual` three times out of four. (`one_of` counts a strategy that is given several times as one.)"""
    return st.integers(0, 3).flatmap(lambda roll: st.one_of(*seldom) if roll == 3 else usual)


# --- JSON text --------------------------------------------------------------------------------------------------------

_SPACE = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n  "])
_WORDS = ("", "null", "true", "abc", "gpt-4", "a b", "ü", "😀 \n", "日本", 'say "hi"', "\\", "1", "1.0", "%", "'")
_AWKWARD_NUMBERS = (
    *("1e-400", "1e400", "-1e400", "0e999", "0e-999", "1e999999999999999999999", "0e99999999999999999999"),
    *("+1", "-1", "--1", ".5", "5.", "00012", "-0", "-0.0", "1e3", "1E+05", "1e", "e5", ".", "-", "+", "1..2", "-.5e1"),
    *("1e-19", "1e-20", "10e-20", "1e37", "1e38", "-1e38", "0.1e39", "9" * 38, "9" * 39, "-" + "9" * 38),
    *("0." + "9" * 19, "0." + "9" * 20, "0." + "1" * 19 + "000", "9" * 38 + "." + "9" * 19),
    *(" 1", "1 ", "1\n", "0x10", "1_000", "1,000", "inf", "-inf", "Infinity", "nan", "NaN", "١", "１", "1．5"),
)


def _quoted(text: str, escaped: bool) -> str:
    return json.dumps(text, ensure_ascii=escaped)


_DECIMAL_TEXTS = st.builds(
    lambda digits, scale, sign: f"{sign}{digits[:-scale] or '0'}.{digits[-scale:]}",
    st.text("0123456789", min_size=1, max_size=40),
    st.integers(1, 24),
    st.sampled_from(["", "-"]),
)
_STRINGS = st.builds(_quoted, st.sampled_from(_WORDS), st.booleans())
_NUMBER_STRINGS = st.one_of(
    st.sampled_from(_AWKWARD_NUMBERS),
    _DECIMAL_TEXTS,
    st.integers(-(10**40), 10**40).map(str),
    st.integers(-9, 9).map(str),
).map(json.dumps)
_INTEGERS = st.one_of(st.integers(-5, 5), st.integers(-(10**9), 10**9), st.integers(-(10**40), 10**40)).map(str)
_DOUBLES = st.one_of(
    st.builds(lambda whole, digits: f"{whole}.{digits}", st.integers(-1000, 1000), st.text("0123456789", min_size=1)),
    st.builds(
        lambda whole, mark, exponent: f"{whole}{mark}{exponent}",
        st.integers(-(10**20), 10**20),
        st.sampled_from(["e", "E", "e+", "e-", ".5e", ".25E-"]),
        st.integers(0, 30),
    ),
    st.sampled_from(["-0.0", "0.1", "0.2", "1.50", "1e5", "1E22", "1e-7", "123456789.123456789", "1e-400", "0e999"]),
)
_ODD_VALUES = st.sampled_from(["null", "true", "false", "{}", "[]", '""', '"null"', '"true"', '{"v": 1}', "[7]", "-0"])


def number_literals() -> st.SearchStrategy[str]:
    """Generate JSON number literals within the range of a double."""
    return st.one_of(_INTEGERS, _DOUBLES)


def json_values() -> st.SearchStrategy[str]:
    """Generate the JSON texts that a meter may find as a value or a dimension."""
    return _mostly(st.one_of(_INTEGERS, _DOUBLES, _NUMBER_STRINGS), _STRINGS, _ODD_VALUES)


def _dimensions() -> st.SearchStrategy[str]:
    few = st.sampled_from(['"gpt-4"', '"gpt-4"', '"gpt-5"', '""', "null", "1", '"1"', "1.0", "true", "{}"])
    return _mostly(few, json_values())


@st.composite
def _object(draw: st.DrawFn, members: Mapping[str, st.SearchStrategy[str]]) -> str:
    """Generate an object with some of the members, in any order; sometimes one of them occurs twice."""
    keys = draw(st.permutations(sorted(members)))
    keys = keys[draw(st.sampled_from([0, 0, 1, len(keys) // 2])) :]
    if keys and draw(st.integers(0, 5)) == 5:
        keys = [*keys, draw(st.sampled_from(keys))]
    space, escaped = draw(_SPACE), draw(st.booleans())
    body = f"{space},".join(f"{space}{_quoted(key, escaped)}{space}:{space}{draw(members[key])}" for key in keys)
    return f"{space}{{{body}{space}}}{space}"


@st.composite
def _list(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    space = draw(_SPACE)
    between = f"{space},{space}"
    return f"[{space}{between.join(draw(st.lists(items, max_size=3)))}{space}]"


def data_texts() -> st.SearchStrategy[str]:
    """Generate JSON objects as text, with the members that the meters of `meters()` read."""
    value, dimension = json_values(), _dimensions()
    nested = _object({"v": value, "region": dimension})
    members = {
        "v": value,
        "a b": value,
        "model": dimension,
        "size": dimension,
        "nested": _mostly(nested, value),
        "list": st.one_of(_list(value), _list(_object({"v": value})), value),
        "ümlaut": value,
    }
    return _object(members)


# --- times ------------------------------------------------------------------------------------------------------------


def _written(at_ns: int, offset_minutes: int, digits: int) -> str:
    """Return an instant as RFC 3339 text with an offset and at most `digits` fraction digits."""
    local = EPOCH + timedelta(seconds=at_ns // 1_000_000_000, minutes=offset_minutes)
    fraction = f"{at_ns % 1_000_000_000:09d}"[:digits]
    zone = timezone(timedelta(minutes=offset_minutes)) if offset_minutes else UTC
    offset = "Z" if zone is UTC else local.replace(tzinfo=zone).isoformat()[-6:]
    return f"{local:%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}{offset}"


def _nanoseconds(near_zone: str) -> st.SearchStrategy[int]:
    """Generate instants at, next to, near and within two days of an instant of the zone, none before 1970."""
    near = st.sampled_from(STEPS_MS)
    distance_ms = st.one_of(
        near,
        st.builds(lambda step, beside: step + beside, near, st.sampled_from([-1, 1, -1_000, 59_999])),
        st.integers(0, 7_200_000),
        st.integers(0, 2 * DAY_MS),
        st.just(35 * DAY_MS),
    )
    return st.builds(
        lambda base, distance, way, finer: max(0, instant(base) + way * distance * 1_000_000 + finer),
        st.sampled_from(ZONE_INSTANTS[near_zone]),
        distance_ms,
        st.sampled_from([-1, 1]),
        st.sampled_from([0, 0, 0, 1, 999, 500_000, 999_999]),
    )


def times(near_zone: str) -> st.SearchStrategy[str]:
    """Generate RFC 3339 texts near the instants of the zone."""
    return st.builds(
        _written, _nanoseconds(near_zone), st.sampled_from(OFFSETS_MINUTES), st.sampled_from([0, 3, 3, 6, 9])
    )


# --- events, meters, queries ------------------------------------------------------------------------------------------


def zones() -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(ZONE_INSTANTS))


def _event(near_zone: str, data: st.SearchStrategy[str | None]) -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        id=st.integers(0, 60).map(lambda serial: f"event-{serial}"),
        source=st.sampled_from(["api", "api", "batch"]),
        type=_mostly(st.just("request"), st.sampled_from(EVENT_TYPES)),
        subject=st.sampled_from(SUBJECTS),
        time=times(near_zone),
        data=data,
    )


@st.composite
def events(draw: st.DrawFn, near_zone: str | None = None, max_size: int = 60) -> list[Event]:
    """Generate events in log order. Some are sent again, unchanged or with the same id and other content.

    Args: near_zone: the events are near the instants of this zone; None: of any zone.
    """
    near_zone = near_zone or draw(zones())
    pool: list[str | None] = [*draw(st.lists(data_texts(), min_size=2, max_size=6))]
    data = _mostly(st.sampled_from(pool), st.sampled_from([None, "null", " {}"]))
    few = min(max_size, draw(st.sampled_from([0, 1, 4, 10, 20])))
    sent = draw(st.lists(_event(near_zone, data), min_size=few, max_size=max_size))
    again = draw(st.lists(st.sampled_from(sent), max_size=3)) if sent else []
    return [*sent, *again][:max_size]


@st.composite
def meters(draw: st.DrawFn, near_zone: str | None = None) -> Meter:
    """Generate meters of all aggregations. Some have an `event_from` near the instants of `near_zone`."""
    near_zone = near_zone or draw(zones())
    aggregation = draw(st.sampled_from(["SUM", "COUNT", "AVG", "MIN", "MAX", "UNIQUE_COUNT", "LATEST"]))
    value_property = (
        None if aggregation == "COUNT" else draw(st.sampled_from([*VALUE_PATHS, *VALUE_PATHS, *WILDCARD_PATHS]))
    )
    names = draw(st.lists(st.sampled_from(sorted(DIMENSIONS)), max_size=3, unique=True))
    event_from = _nanoseconds(near_zone).map(lambda at_ns: EPOCH + timedelta(microseconds=at_ns // 1_000))
    return Meter(
        slug="usage",
        event_type=draw(_mostly(st.just("request"), st.sampled_from(EVENT_TYPES))),
        aggregation=aggregation,
        value_property=value_property,
        group_by={name: DIMENSIONS[name] for name in names},
        event_from=draw(_mostly(st.none(), event_from)),
    )


@st.composite
def queries(draw: st.DrawFn, meter: Meter, near_zone: str | None = None) -> Query:
    """Generate valid queries of the meter, mostly in the time zone `near_zone`."""
    near_zone = near_zone or draw(zones())
    from_, to = draw(_bounds(near_zone))
    names = sorted(meter.group_by)
    allowed = st.lists(st.sampled_from(["gpt-4", "gpt-5", "null", "1", "true", "ü"]), min_size=1, max_size=4)
    groups = draw(st.permutations(["subject", *names]))
    filters = st.dictionaries(st.sampled_from(names), allowed, max_size=2) if names else st.just({})
    subjects = st.lists(st.sampled_from([*SUBJECTS, "nobody"]), min_size=1, max_size=3, unique=True)
    return Query(
        from_=from_,
        to=to,
        window_size=draw(st.sampled_from([None, "MINUTE", "HOUR", "HOUR", "DAY", "DAY", "MONTH"])),
        zone=draw(_mostly(st.just(near_zone), zones())),
        subjects=draw(_mostly(st.none(), subjects)),
        group_by=tuple(groups[: draw(st.integers(0, len(groups)))]),
        filters=draw(_mostly(st.just({}), filters)),
    )


@st.composite
def _bounds(draw: st.DrawFn, near_zone: str) -> tuple[str | None, str | None]:
    """Generate both bounds, one or none, with `from` before `to`: near the instants of the zone, or anywhere."""
    first, last = sorted(draw(st.lists(_nanoseconds(near_zone), min_size=2, max_size=2, unique=True)))
    from_, to = (_written(at, draw(st.sampled_from(OFFSETS_MINUTES)), _digits(at)) for at in (first, last))
    return draw(st.sampled_from([None, None, from_])), draw(st.sampled_from([None, to]))


def _digits(at_ns: int) -> int:
    """Return how many fraction digits the instant needs: 0, 3, 6 or 9, as people write them."""
    return next(digits for digits in (0, 3, 6, 9) if at_ns % 10 ** (9 - digits) == 0)


@st.composite
def cases(draw: st.DrawFn, max_size: int = 60) -> tuple[list[Event], Meter, list[Query]]:
    """Generate events, a meter and queries of it, all near the same instants."""
    near_zone = draw(zones())
    meter = draw(meters(near_zone))
    drawn_queries = st.lists(queries(meter, near_zone), min_size=1, max_size=6)
    return draw(events(near_zone, max_size)), meter, draw(drawn_queries)
