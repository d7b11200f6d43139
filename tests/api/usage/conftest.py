"""The tests of usage queries share the usage of two subjects, and a function that reads the rows of an answer."""

from typing import Any

import pytest

from tests.api.conftest import Create, Send

JANUARY = "from=2025-01-01T00:00:00Z&to=2025-02-01T00:00:00Z"


@pytest.fixture
def usage(meter: Create, send: Send) -> None:
    meter()
    send(
        ("customer-1", "2025-01-01T10:00:00Z", {"tokens": "0.1", "model": "a", "type": "in"}),
        ("customer-1", "2025-01-01T11:00:00Z", {"tokens": "0.2", "model": "a", "type": "out"}),
        ("customer-2", "2025-01-02T00:00:00Z", {"tokens": 5, "model": 'b,"x"', "type": "in"}),
    )


def rows_of(body: dict[str, Any]) -> list[tuple[object, ...]]:
    return [(row["subject"], row["groupBy"], row["value"]) for row in body["data"]]
