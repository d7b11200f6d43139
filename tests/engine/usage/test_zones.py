"""Time zones: unknown names are refused, and every change of an offset is found as zoneinfo finds it."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from zoneinfo import _zoneinfo  # type: ignore[attr-defined] # the pure-Python one, which shows its transitions

import pytest

from engine.errors import InvalidRequest
from engine.instants import BEGINNING, DAY_SECONDS, END
from engine.usage.zones import _zone_names, offsets, zone
from tests.harness.long_form import LONG

ZONES = sorted(_zone_names()) if LONG else sorted(_zone_names())[::10]

UNKNOWN = [
    "Mars/Phobos",
    "",
    "america/new_york",
    "Europe",
    "../../etc/passwd",
    "UTC\0",
    "UTC ",
    "zones",
    "Europe/",
    "+01",
]


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_zone_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        zone(name)

    assert str(refused.value) == f"invalid time zone: unknown time zone {name}"


def _plain_zone(name: str) -> Any:
    with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return _zoneinfo.ZoneInfo.from_file(file, key=name)


def _transitions(info: Any) -> Iterator[tuple[int, int]]:
    """Return (first second, offset from then on) in time order, from zoneinfo's pure-Python reader."""
    after = [round(kind.utcoff.total_seconds()) for kind in info._ttinfos]
    yield from zip(info._trans_utc, after, strict=True)
    rule = info._tz_after
    if not hasattr(rule, "transitions"):
        return
    last = info._trans_utc[-1] if info._trans_utc else BEGINNING
    standard, summer = (round(kind.utcoff.total_seconds()) for kind in (rule.std, rule.dst))
    for year in range(1970, 2101):
        begins, ends = rule.transitions(year)  # in local time of the offset that was valid until then
        changes = sorted([(int(begins) - standard, summer), (int(ends) - summer, standard)])
        yield from (change for change in changes if change[0] > last)


@pytest.mark.parametrize("name", ZONES)
def test_every_change_of_a_zones_offset_until_2100_is_found(name: str) -> None:
    info = _plain_zone(name)
    before = round(info._tti_before.utcoff.total_seconds()) if info._tti_before else None
    expected = []
    for at, offset in _transitions(info):
        if offset != before and BEGINNING - 40 * DAY_SECONDS < at < END:
            expected.append((at, offset))
        before = offset

    steps = offsets(name)

    assert [step for step in zip(steps.starts[1:], steps.values[1:], strict=True) if step[0] < END] == expected
