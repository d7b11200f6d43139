"""Events, meters and answers, as the tests of the oracle write them out."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import HealthCheck, settings

from tests.harness.long_form import LONG
from tests.harness.oracle import Event, Meter, Query, Row, usage
from tests.harness.oracle_time import NANOSECONDS, instant, window_bounds

THOROUGH = 30 if LONG else 1
QUICK = settings(max_examples=60 * THOROUGH, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MINUTE = "2025-01-01T10:20:00Z"


def event(
    serial: int, data: str | None = '{"v": 1}', at: str = MINUTE, subject: str = "customer-1", kind: str = "request"
) -> Event:
    return Event(f"event-{serial}", "api", kind, subject, at, data)


def meter(aggregation: str = "SUM", **dimensions: str) -> Meter:
    return Meter("usage", "request", aggregation, None if aggregation == "COUNT" else "$.v", dimensions)


def values(events: list[Event], aggregation: str, query: Query | None = None) -> list[str]:
    return [plain(row.value) for row in usage(events, meter(aggregation), query or Query())]


def plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def window(row: Row) -> str:
    return f"{written(row.window_start)}/{written(row.window_end)}"


def written(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // NANOSECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bounds(at: str, size: str, zone: str) -> str:
    start, end = window_bounds(instant(at) // 1_000_000, size, zone)
    return f"{written(start * NANOSECONDS)}/{written(end * NANOSECONDS)}"
