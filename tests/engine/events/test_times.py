"""The time of an event: which texts are instants, and how far from its arrival the time may be."""

import pytest

from engine.config.settings import IngestSettings
from engine.errors import InvalidEvent
from engine.events.cloudevents import TimeSpan, decode_event
from tests.engine.events.one_event import ARRIVED, DAY_MS, SPAN, decoded, envelope, ms, refusal

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
