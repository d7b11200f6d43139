"""What one request may cost: filters, texts, lists, bodies and time are bounded, and said so by 400, 413 or 503."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from api.app import Services, create_app
from tests.api.client import ApiClient
from tests.api.conftest import KEY

QUERY = "/api/v1/meters/tokens_total/query"
PORTAL_QUERY = "/api/v1/portal/meters/tokens_total/query"
ADVANCED = "advancedMeterGroupByFilters"
Create = Callable[..., dict[str, Any]]
Token = Callable[..., dict[str, str]]


def detail(answer: Any, status: int = 400) -> str:
    assert answer.status_code == status, answer.text[:500]
    return str(answer.json()["detail"])


# filters


@pytest.mark.usefixtures("meter")
def test_patterns_cost_a_query_no_time(client: ApiClient, anyone: ApiClient, meter: Create, token: Token) -> None:
    """Contract 2.3: as many patterns, as long, as there may be; compiled into one expression they took seconds."""
    meter()
    mine = token("customer-1")
    patterns = [{"$like": "%N" + "_%" * 100}] * 20
    began = time.monotonic()

    for answer in (
        client.post(QUERY, json={ADVANCED: {"model": {"$or": patterns}}}),
        anyone.post(PORTAL_QUERY, headers=mine, json={ADVANCED: {"model": {"$or": patterns}}}),
    ):
        assert answer.status_code == 200
    assert time.monotonic() - began < 1


def test_the_filters_of_a_request_are_bounded_together(still: ApiClient, still_token: Token) -> None:
    """Contract 2.3, D.11: operators and characters of patterns, whichever keys they stand at."""
    operators = {key: {"$or": [{"$eq": "a"}] * 100} for key in ("model", "type")}
    patterns = {"model": {"$or": [{"$like": "%N" + "_%" * 1000}] * 20}}

    for path, headers in ((QUERY, {}), (PORTAL_QUERY, still_token("a"))):
        many = still.post(path, headers=headers, json={ADVANCED: operators})
        long = still.post(path, headers=headers, json={ADVANCED: patterns})
        assert detail(many).endswith("type: filter complexity exceeds 200 operators")
        assert detail(long).endswith("model: filter complexity exceeds 4096 characters of patterns")


# time


def test_a_query_that_takes_too_long_is_ended_and_told(
    portal: BlockingPortal, services: Services, meter: Create
) -> None:
    """Contract 0: 503 `query-timeout`, with the setting that says how long."""
    meter()
    limits = services.settings.query.model_copy(update={"timeout_seconds": 1e-6})
    impatient = replace(services, settings=services.settings.model_copy(update={"query": limits}))
    client = ApiClient(portal, create_app(impatient), {"Authorization": f"Bearer {KEY}"})

    answer = client.get(QUERY)

    assert detail(answer, 503) == "the query took longer than 1e-06 seconds, ask for less"
    assert answer.json()["code"] == "query-timeout"
    assert answer.headers["retry-after"] == "1"
