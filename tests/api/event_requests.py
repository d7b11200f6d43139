"""The tests of events share the route, a valid event, and a request with any body."""

from typing import Any

from tests.api.conftest import event
from tests.harness.api_client import ApiClient

URL = "/api/v1/events"
GOOD = event("e1", "customer-1", "2025-01-01T00:00:00Z", {"tokens": 1})


def post(client: ApiClient, body: bytes, content_type: str | None) -> Any:
    headers = {"Content-Type": content_type} if content_type is not None else {}
    return client.post(URL, content=body, headers=headers)
