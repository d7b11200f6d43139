"""The rate limit of a portal token."""

import dataclasses
from collections.abc import Callable

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from api.http.limits import RequestLimit
from engine.errors import TooManyRequests
from tests.harness.api_client import ApiClient

METERS = "/api/v1/portal/meters"
Token = Callable[..., dict[str, str]]


def taken(limit: RequestLimit, holder: str, now: float, tries: int = 100) -> int:
    """Return how many requests in a row are accepted."""
    for count in range(tries):
        try:
            limit.take(holder, now)
        except TooManyRequests:
            return count
    return tries


def test_a_minutes_requests_may_come_at_once_then_evenly() -> None:
    limit = RequestLimit(6)

    assert taken(limit, "a", 1000) == 6
    assert taken(limit, "a", 1009.9) == 0
    assert taken(limit, "a", 1010) == 1
    assert taken(limit, "a", 1035) == 2
    assert taken(limit, "a", 5000) == 6
    assert taken(limit, "b", 5000) == 6


def test_the_refusal_says_when_the_next_is_taken() -> None:
    limit = RequestLimit(6)
    taken(limit, "a", 1000)

    with pytest.raises(TooManyRequests) as caught:
        limit.take("a", 1000.5)

    assert caught.value.retry_seconds == 10
    limit.take("a", 1000.5 + 10)


def test_no_limit_keeps_nothing() -> None:
    limit = RequestLimit(None)

    assert taken(limit, "a", 1000) == 100
    assert len(limit) == 0


def test_what_is_kept_is_bounded() -> None:
    """Full buckets are removed. Of the others, the one that was used longest ago is removed first."""
    limit = RequestLimit(6, max_buckets=100)
    for number in range(1000):
        limit.take(str(number), 1000 + number / 1000)
        assert len(limit) <= 100

    limit.take("later", 1100)

    assert len(limit) == 1


def test_a_token_that_asks_too_often_is_429(
    portal: BlockingPortal, still_dependencies: Dependencies, still_token: Token
) -> None:
    """Contract 0: only this token's requests on the portal are refused. A page can read when to try again."""
    settings = still_dependencies.settings
    limited = settings.model_copy(update={"portal": settings.portal.model_copy(update={"requests_per_minute": 2})})
    client = ApiClient(portal, create_app(dataclasses.replace(still_dependencies, settings=limited)))
    mine, other = still_token("customer-1"), still_token("customer-1")
    mine["Origin"] = "https://app.example.com"

    answers = [
        client.get(METERS, headers=mine),
        client.get(f"{METERS}/tokens_total/query", headers=mine),
        client.get(METERS, headers=mine),
        client.post(f"{METERS}/tokens_total/query", headers=mine, json={}),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    refused = answers[2]
    assert (refused.json()["code"], refused.json()["detail"]) == (
        "too-many-requests",
        "the token made too many requests",
    )
    assert refused.headers["retry-after"] == "30"
    assert "Retry-After" in refused.headers["access-control-expose-headers"]
    assert client.get(METERS, headers=other).status_code == 200
