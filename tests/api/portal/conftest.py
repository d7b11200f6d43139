"""The tests of the portal's routes share their paths, the usage of two subjects, and the text of a token."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.api.conftest import Create, Send

METERS = "/api/v1/portal/meters"
QUERY = f"{METERS}/tokens_total/query"
VALUES = f"{METERS}/tokens_total/group-by/model/values"


@pytest.fixture
def usage(meter: Create, send: Send) -> None:
    """Store usage of two subjects. The first one has 3 tokens in two models."""
    meter()
    at = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    send(
        ("customer-1", at, {"tokens": 1, "model": "a"}),
        ("customer-1", at, {"tokens": 2, "model": "b"}),
        ("customer-2", at, {"tokens": 40, "model": "secret"}),
    )


def text_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].removeprefix("Bearer ")
