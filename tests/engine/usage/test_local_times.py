"""Times as people write them: the source of the zones, days, and the repeated hour."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo, reset_tzpath

import pytest

from engine.errors import InvalidRequest
from engine.usage.local_times import read_zone, timestamp
from engine.usage.zones import zone

NEW_YORK = "America/New_York"


# zones (design R17a: one source)


@pytest.fixture
def wrong_system_zones(tmp_path: Path) -> Iterator[None]:
    """A system whose America/New_York has the time of Kolkata, and which has an additional zone."""
    folder = tmp_path / "zoneinfo" / "America"
    folder.mkdir(parents=True)
    kolkata = resources.files("tzdata.zoneinfo").joinpath("Asia", "Kolkata").read_bytes()
    (folder / "New_York").write_bytes(kolkata)
    (folder / "Nowhere").write_bytes(kolkata)
    reset_tzpath([tmp_path / "zoneinfo"])
    ZoneInfo.clear_cache()
    yield
    reset_tzpath()
    ZoneInfo.clear_cache()


@pytest.mark.usefixtures("wrong_system_zones")
def test_times_use_the_zones_of_the_tzdata_package_as_windows_do() -> None:
    """Zones have one source, because the zone data of the system may be of another version or changed."""
    assert read_zone(NEW_YORK) is zone(NEW_YORK)
    assert timestamp("2026-07-01 12:00", read_zone(NEW_YORK)) == "2026-07-01T12:00:00-04:00"
    with pytest.raises(InvalidRequest, match="unknown time zone 'America/Nowhere': expected an IANA name"):
        read_zone("America/Nowhere")


@pytest.mark.parametrize("name", ["", "EST5EDT4", "../zones", "america/new_york", "+05:30", "localtime", "a\0b"])
def test_a_name_that_is_no_zone_of_the_package_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="unknown time zone"):
        read_zone(name)


# days: a date alone means the beginning of the day, as for windows


@pytest.mark.parametrize(
    ("date", "zone_name", "begins"),
    [
        ("2026-03-01", NEW_YORK, "2026-03-01T00:00:00-05:00"),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T01:00:00-02:00"),  # its midnight is skipped
        ("2026-11-01", "America/Havana", "2026-11-01T00:00:00-04:00"),  # its midnight occurs twice
        ("1960-01-01", NEW_YORK, "1960-01-01T00:00:00-05:00"),  # before all windows
        ("2150-07-01", NEW_YORK, "2150-07-01T00:00:00-04:00"),  # after all windows
    ],
)
def test_a_date_alone_is_where_its_day_begins(date: str, zone_name: str, begins: str) -> None:
    assert timestamp(date, read_zone(zone_name)) == begins


def test_a_date_that_a_zone_skips_never_occurs() -> None:
    with pytest.raises(InvalidRequest, match="2011-12-30 never occurs in Pacific/Apia"):
        timestamp("2011-12-30", read_zone("Pacific/Apia"))


# the hour that occurs twice (N26)


def test_a_bound_that_occurs_twice_is_refused_and_its_two_offsets_are_named() -> None:
    """N26: it is impossible to know which of the two the user means."""
    with pytest.raises(InvalidRequest) as refused:
        timestamp("2025-11-02 01:30", read_zone(NEW_YORK))

    assert str(refused.value) == (
        "2025-11-02 01:30:00 occurs twice in America/New_York, at -04:00 and at -05:00: write it with its offset"
    )
    assert timestamp("2025-11-02 01:30-05:00", read_zone(NEW_YORK)) == "2025-11-02T01:30:00-05:00"


def test_a_number_is_no_time_and_no_option_of_imports_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        timestamp("1752364800", read_zone("UTC"))

    assert str(refused.value) == (
        "'1752364800' is a number, not a time: expected a time such as 2026-03-01T12:30:00 or 2026-03-01, or one with "
        "an offset"
    )
