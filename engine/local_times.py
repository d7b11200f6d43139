"""Times as people write them to RFC 3339: dates, local times of a zone, timestamps with an offset.

Owns: what a local time means where the clock changes. A time that occurs twice is the first of the two; one that
never occurs is refused, not guessed.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from engine.errors import InvalidRequest

_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<clock>\d\d:\d\d)(?P<second>:\d\d)?(?P<fraction>\.\d+)? ?(?P<offset>[Zz]|[+-]\d\d:?\d\d)?)?\Z",
    re.ASCII,
)


def read_zone(name: str) -> ZoneInfo:
    """Return an IANA time zone. Raises: InvalidRequest."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest(f"unknown time zone {name!r}: an IANA name is wanted, as America/New_York") from None


@lru_cache(maxsize=65_536)
def timestamp(text: str, zone: ZoneInfo) -> str:
    """Return the RFC 3339 timestamp that `text` names; without an offset of its own it is a time of `zone`.

    A date alone is its midnight. Digits of the fraction are kept but for trailing zeros.
    Raises: InvalidRequest: it is no time, or the zone's clock skips it.
    """
    match = _TIME.match(text)
    if not match:
        raise InvalidRequest(f"{text!r} is no time: wanted as 2026-03-01T12:30:00 or 2026-03-01, or with an offset")
    clock = f"{match['date']}T{match['clock'] or '00:00'}{match['second'] or ':00'}"
    fraction = (match["fraction"] or "").rstrip("0").rstrip(".")
    try:
        local = datetime.fromisoformat(clock)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no time: {error}") from None
    if match["offset"] is None:
        return _in_zone(local, fraction, zone)
    offset = match["offset"].upper()
    return f"{clock}{fraction}{offset if len(offset) != 5 else f'{offset[:3]}:{offset[3:]}'}"


def _in_zone(local: datetime, fraction: str, zone: ZoneInfo) -> str:
    aware = local.replace(tzinfo=zone)
    try:
        instant = aware.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(f"{local} is not within the years 0001 to 9999 in UTC") from None
    if instant.astimezone(zone).replace(tzinfo=None) != local:
        raise InvalidRequest(f"{local} never occurs in {zone.key}: the clock skips it")
    offset = aware.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):  # local mean time before zones were agreed on
        return f"{instant:%Y-%m-%dT%H:%M:%S}{fraction}Z"
    return f"{local.isoformat()}{fraction}{aware.isoformat()[-6:]}"
