"""The cost of one request: filters, texts, lists, bodies and time are limited, and 400, 413 or 503 say so."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from tests.api.conftest import KEY
from tests.harness.api_client import ApiClient

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
def test_the_largest_number_of_patterns_is_answered(
    client: ApiClient, anyone: ApiClient, meter: Create, token: Token
) -> None:
    """Contract 2.3: the maximum number and length of patterns."""
    meter()
    mine = token("customer-1")
    patterns = [{"$like": "%N" + "_%" * 100}] * 20

    for answer in (
        client.post(QUERY, json={ADVANCED: {"model": {"$or": patterns}}}),
        anyone.post(PORTAL_QUERY, headers=mine, json={ADVANCED: {"model": {"$or": patterns}}}),
    ):
        assert answer.status_code == 200


def test_the_filters_of_a_request_are_bounded_together(still: ApiClient, still_token: Token) -> None:
    """Contract 2.3, D.11: the operators and the characters of patterns are counted over all keys."""
    operators = {key: {"$or": [{"$eq": "a"}] * 100} for key in ("model", "type")}
    patterns = {"model": {"$or": [{"$like": "%N" + "_%" * 1000}] * 20}}

    for path, headers in ((QUERY, {}), (PORTAL_QUERY, still_token("a"))):
        many = still.post(path, headers=headers, json={ADVANCED: operators})
        long = still.post(path, headers=headers, json={ADVANCED: patterns})
        assert detail(many).endswith("type: filter complexity exceeds 200 operators")
        assert detail(long).endswith("model: filter complexity exceeds 4096 characters of patterns")


def test_no_more_keys_are_read_than_a_meter_may_have(still: ApiClient, still_token: Token) -> None:
    """Contract 2.2: by GET and by POST, before any filter is read."""
    filters = {f"k{number}": {"$regex": "x"} for number in range(31)}
    mine = still_token("a")

    for path, headers in ((QUERY, {}), (PORTAL_QUERY, mine)):
        for member in (ADVANCED, "filterGroupBy"):
            given = filters if member == ADVANCED else {key: ["a"] for key in filters}
            told = detail(still.post(path, headers=headers, json={member: given}))
            assert told.startswith(f"invalid request body: {member}: Dictionary should have at most 30 items")
        told = detail(still.get(path, headers=headers, params={ADVANCED: json.dumps(filters)}))
        assert told == "validation error: advanced meter group by filters have more than 30 keys"


def test_the_body_of_a_query_is_small(still: ApiClient, still_token: Token) -> None:
    """Contract 0: at most 256 KiB, whatever the limit of other bodies is: all requests wait while it is parsed."""
    largest = b'{"windowSize":"DAY"' + b" " * (262_144 - 20) + b"}"
    json_body = {"Content-Type": "application/json"}

    for path, headers in ((QUERY, json_body), (PORTAL_QUERY, json_body | still_token("a"))):
        assert still.post(path, headers=headers, content=largest).status_code == 200
        told = detail(still.post(path, headers=headers, content=largest + b" "), 413)
        assert told == "the body is longer than 262144 bytes"


# time


def test_a_query_that_takes_too_long_is_ended_and_told(
    portal: BlockingPortal, dependencies: Dependencies, meter: Create
) -> None:
    """Contract 0: 503 `query-timeout`, and the message names the setting of the limit."""
    meter()
    limits = dependencies.settings.query.model_copy(update={"timeout_seconds": 1e-6})
    impatient = replace(dependencies, settings=dependencies.settings.model_copy(update={"query": limits}))
    client = ApiClient(portal, create_app(impatient), {"Authorization": f"Bearer {KEY}"})

    answer = client.get(QUERY)

    assert detail(answer, 503) == "the query took longer than 1e-06 seconds, ask for less"
    assert answer.json()["code"] == "query-timeout"
    assert answer.headers["retry-after"] == "1"


# texts and lists

LONG = ["x" * 140_000, "\\" * 70_000, "ü" * 8193]
OPERAND = "is longer than 8192 characters"


@pytest.fixture(params=["chdb", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """A ClickHouse server accepts 128 KiB in one field of a request; chDB in this process accepts more."""
    return str(request.param)


@pytest.mark.parametrize("text", LONG, ids=["x", "backslashes", "u"])
def test_a_text_too_long_to_be_asked_for_is_named(
    client: ApiClient, anyone: ApiClient, meter: Create, token: Token, text: str
) -> None:
    """Contract 0: before, the error of the ClickHouse server became a 500."""
    meter()
    mine = token("customer-1")
    bodies: list[tuple[str, dict[str, object], str]] = [
        (QUERY, {ADVANCED: {"model": {"$eq": text}}}, f"filter: model: filter is invalid: $eq {OPERAND}"),
        (QUERY, {ADVANCED: {"model": {"$in": ["a", text]}}}, f"filter: model: filter is invalid: $in {OPERAND}"),
        (QUERY, {ADVANCED: {"model": {"$gt": text}}}, f"filter: model: filter is invalid: $gt {OPERAND}"),
        (QUERY, {"filterGroupBy": {"model": ["a", text]}}, f"body: filterGroupBy.model.1: {OPERAND}"),
        (QUERY, {"subject": [text]}, f"body: subject.0: {OPERAND}"),
        (QUERY, {"groupBy": [text]}, f"body: groupBy.0: {OPERAND}"),
        ("/api/v1/portal/tokens/invalidate", {"id": text}, f"body: id: {OPERAND}"),
        ("/api/v1/portal/tokens/invalidate", {"subject": text}, f"body: subject: {OPERAND}"),
        ("/api/v1/portal/tokens", {"subject": text}, "subject is longer than 2048 bytes"),
        ("/api/v1/dead-letters/replay", {"reason": text}, f"body: reason: {OPERAND}"),
    ]

    for path, body, told in bodies:
        assert detail(client.post(path, json=body)).endswith(told), (path, body.keys())
    assert detail(anyone.post(PORTAL_QUERY, headers=mine, json={"filterGroupBy": {"model": [text]}}))
    for path, name in (
        ("/api/v1/events", "id"),
        ("/api/v1/events", "subject"),
        ("/api/v1/dead-letters", "reason"),
        ("/api/v1/portal/tokens", "subject"),
        (QUERY, "subject"),
        (QUERY, "filterGroupBy[model]"),
    ):
        told = f'parameter "{name.partition("[")[0]}" in query has an error: {OPERAND}'
        assert detail(client.get(path, params={name: text[:10_000]})) == told
    assert detail(client.get(f"/api/v1/subjects/{quote(text[:10_000])}"), 404).startswith("not found error: ")


def test_as_long_and_as_many_as_may_be_are_answered(client: ApiClient, meter: Create) -> None:
    """Contract 0: the store accepts the largest allowed texts and lists, escaped and all together."""
    meter()
    longest = "\\'" * 4096
    many = [f"{number}{longest}"[:100] for number in range(1000)]
    bodies: list[dict[str, object]] = [
        {ADVANCED: {"model": {"$in": many}}},
        {ADVANCED: {"model": {"$and": [{"$ne": longest}, {"$nin": [longest] * 10}, {"$lt": longest}]}}},
        {"filterGroupBy": {"model": [longest] * 10}, "subject": [longest] * 10},
    ]

    assert [client.post(QUERY, json=body).status_code for body in bodies] == [200, 200, 200]
    assert client.get("/api/v1/events", params={"id": longest}).status_code == 200


@pytest.mark.parametrize("operator", ["$in", "$nin"])
def test_a_list_of_too_many_texts_is_named(still: ApiClient, operator: str) -> None:
    """Contract 2.3."""
    answer = still.post(QUERY, json={ADVANCED: {"model": {operator: ["a"] * 1001}}})

    assert detail(answer).endswith(f"model: filter is invalid: {operator} has more than 1000 strings")


def test_the_paths_of_a_meter_fit_into_its_statements(client: ApiClient, meter: Create) -> None:
    """Contract 2.1: with the maximum number and length of paths usage is answered. Longer paths are refused by name."""
    paths = {f"k{at}": f"$.{'a' * 1020}{at:02}" for at in range(30)}
    made = meter(groupBy=paths, valueProperty="$." + "v" * 1022)
    long = {"valueProperty": "$." + "v" * 1023, "groupBy": {"model": "$." + "m" * 200_000}}

    refused = client.post("/api/v1/meters", json={**made, "slug": "another", **long})

    assert client.get(QUERY, params={"groupBy": [*paths]}).status_code == 200
    assert detail(refused).splitlines() == [
        "validation error: valueProperty: is longer than 1024 characters",
        "groupBy.model: is longer than 1024 characters",
    ]
