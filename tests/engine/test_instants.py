"""RFC 3339 texts to instants and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.instants import Instant, parse_instant

TEXTS = {
    "the epoch": ("1970-01-01T00:00:00Z", 0, 0, "1970-01-01T00:00:00Z", 0),
    "an offset east": (
        "2025-01-01T01:00:00+01:00",
        1_735_689_600_000_000_000,
        3600,
        "2025-01-01T01:00:00+01:00",
        1_735_689_600_000,
    ),
    "an offset west": (
        "2024-12-31T19:30:00-04:30",
        1_735_689_600_000_000_000,
        -16_200,
        "2024-12-31T19:30:00-04:30",
        1_735_689_600_000,
    ),
    "a zero offset becomes Z": (
        "2025-01-01T00:00:00-00:00",
        1_735_689_600_000_000_000,
        0,
        "2025-01-01T00:00:00Z",
        1_735_689_600_000,
    ),
    "lower case": ("2025-01-01t00:00:00z", 1_735_689_600_000_000_000, 0, "2025-01-01T00:00:00Z", 1_735_689_600_000),
    "trailing zeros are trimmed": (
        "2025-01-01T00:00:00.500Z",
        1_735_689_600_500_000_000,
        0,
        "2025-01-01T00:00:00.5Z",
        1_735_689_600_500,
    ),
    "a fraction of zeros": (
        "2025-01-01T00:00:00.000Z",
        1_735_689_600_000_000_000,
        0,
        "2025-01-01T00:00:00Z",
        1_735_689_600_000,
    ),
    "a nanosecond lies before the next millisecond": (
        *("2025-01-01T00:00:00.000000001Z", 1_735_689_600_000_000_001, 0),
        *("2025-01-01T00:00:00.000000001Z", 1_735_689_600_001),
    ),
    "digits past the ninth are cut": (
        *("2025-01-01T00:00:00.9999999999Z", 1_735_689_600_999_999_999, 0),
        *("2025-01-01T00:00:00.999999999Z", 1_735_689_601_000),
    ),
    "before the epoch": ("1969-12-31T23:59:59.9999Z", -100_000, 0, "1969-12-31T23:59:59.9999Z", 0),
    "the first year": (
        "0001-01-01T00:00:00Z",
        -62_135_596_800_000_000_000,
        0,
        "0001-01-01T00:00:00Z",
        -62_135_596_800_000,
    ),
    "the last second": (
        "9999-12-31T23:59:59Z",
        253_402_300_799_000_000_000,
        0,
        "9999-12-31T23:59:59Z",
        253_402_300_799_000,
    ),
    "a leap day": ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000, 0, "2024-02-29T00:00:00Z", 1_709_164_800_000),
    "an offset of almost a day": (
        "2025-01-01T23:59:00+23:59",
        1_735_689_600_000_000_000,
        86_340,
        "2025-01-01T23:59:00+23:59",
        1_735_689_600_000,
    ),
}


@pytest.mark.parametrize(("text", "nanos", "offset", "printed", "ceiling"), TEXTS.values(), ids=TEXTS)
def test_an_instant_is_read_and_written_back(text: str, nanos: int, offset: int, printed: str, ceiling: int) -> None:
    instant = parse_instant(text)

    assert instant == Instant(nanos, offset)
    assert instant.text == printed
    assert instant.ceil_milliseconds == ceiling


REFUSED = [
    *("", "2025-01-01", "2025-01-01T00:00:00", "2025-01-01T00:00Z", "2025-01-01 00:00:00Z", "20250101T000000Z"),
    *("2025-01-01T00:00:00+0100", "2025-01-01T00:00:00+01", "2025-01-01T00:00:00.Z", "2025-01-01T00:00:00,5Z"),
    *("2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-01-01T24:00:01Z", "2025-01-01T00:60:00Z"),
    *("2016-12-31T23:59:60Z", "2025-01-01T00:00:00+24:00", "2025-01-01T00:00:00+01:60", "0000-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01", "2025-01-01T00:00:00Z ", " 2025-01-01T00:00:00Z"),
    *("2025-01-01T00:00:00Z\n", "٢٠٢٥-01-01T00:00:00Z", "+2025-01-01T00:00:00Z", "2025-01-01T00:00:00UTC", "now"),
]


@pytest.mark.parametrize("text", REFUSED, ids=repr)
def test_what_is_no_rfc_3339_timestamp_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant(text)


def test_instants_are_ordered_by_time_not_by_how_they_are_written() -> None:
    early, late = parse_instant("2025-01-01T12:00:00+13:00"), parse_instant("2025-01-01T00:00:00-01:00")

    assert early < late


@given(nanos=st.integers(0, 4_102_444_800_000_000_000), minutes=st.integers(-1439, 1439))
def test_what_is_written_is_read_back(nanos: int, minutes: int) -> None:
    instant = Instant(nanos, minutes * 60)

    assert parse_instant(instant.text) == instant
