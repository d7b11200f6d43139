"""Usage queries may be posted with their parameters in the body, and a wrong member is refused by name."""

from collections.abc import Callable

import pytest

from tests.api.conftest import QUERY
from tests.api.usage.conftest import rows_of
from tests.harness.api_client import ApiClient


@pytest.mark.usefixtures("usage")
@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({}, [(None, {}, 5.3)]),
        ({"unknown": 1, "subject": None, "advancedMeterGroupByFilters": None}, [(None, {}, 5.3)]),
        ({"subject": ["customer-1"]}, [("customer-1", {}, 0.3)]),
        ({"subject": []}, [(None, {}, 5.3)]),
        ({"groupBy": ["type"]}, [(None, {"type": "in"}, 5.1), (None, {"type": "out"}, 0.2)]),
        ({"filterGroupBy": {"type": ["in"]}}, [(None, {}, 5.1)]),
        ({"filterGroupBy": {"type": ["in", "out"]}}, [(None, {}, 5.3)]),
        ({"filterGroupBy": {"type": []}}, [(None, {}, 5.3)]),
        ({"filterGroupBy": {"type": ["in"], "model": []}}, [(None, {}, 5.1)]),
        ({"from": "2025-01-02T00:00:00Z", "windowTimeZone": "UTC", "clientId": "c"}, [(None, {}, 5)]),
        ({"windowSize": "MONTH"}, [(None, {}, 5.3)]),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_query_may_be_posted(client: ApiClient, body: dict[str, object], rows: list[tuple[object, ...]]) -> None:
    """Contract 2.2: lists of filter values; an empty list filters nothing."""
    answer = client.post(QUERY, json=body)

    assert answer.status_code == 200
    assert rows_of(answer.json()) == rows


@pytest.mark.usefixtures("usage")
def test_a_posted_query_is_echoed(client: ApiClient) -> None:
    body = client.post(
        QUERY, json={"from": "2025-01-01T00:00:00.0Z", "to": "2025-01-02T00:00:00Z", "windowSize": "HOUR"}
    ).json()

    assert (body["from"], body["to"], body["windowSize"]) == ("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z", "HOUR")
    assert [row["value"] for row in body["data"]] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"from": "2025-01-01"}, "invalid request body: from: not an RFC 3339 timestamp with an offset"),
        ({"to": 1735689600}, "invalid request body: to: not an RFC 3339 timestamp with an offset"),
        ({"windowSize": "WEEK"}, "invalid request body: windowSize: "),
        ({"windowTimeZone": 1}, "invalid request body: windowTimeZone: "),
        ({"windowsize": "DAY"}, 'invalid request body: "windowsize" is unknown, did you mean "windowSize"?'),
        ({"subject": "customer-1"}, "invalid request body: subject: "),
        ({"subject": [1]}, "invalid request body: subject.0: "),
        ({"subject": ["a"] * 101}, "invalid request body: subject: "),
        ({"groupBy": ["model"] * 101}, "invalid request body: groupBy: "),
        ({"groupBy": {"model": True}}, "invalid request body: groupBy: "),
        ({"filterGroupBy": ["model"]}, "invalid request body: filterGroupBy: "),
        ({"filterGroupBy": {"model": "a"}}, "invalid request body: filterGroupBy.model: "),
        ({"filterGroupBy": {"model": [None]}}, "invalid request body: filterGroupBy.model.0: "),
        ({"filterGroupBy": {"model": [""]}}, "filter is invalid: format mismatch"),
        ({"filterGroupBy": {"region": []}}, "validation error: invalid group by filter: region"),
        ({"filterCustomerId": ["x"]}, 'parameter "filterCustomerId" is not supported'),
        ({"groupBy": ["customer_id"]}, 'parameter "groupBy": customer_id is not supported'),
        (
            {"advancedMeterGroupByFilters": {"model": "a"}},
            "group by filter: model: filter is invalid: must be an object",
        ),
        ({"advancedMeterGroupByFilters": {"model": {"$eq": ""}}}, "filter is invalid: format mismatch"),
        ({"advancedMeterGroupByFilters": {"model": {"$in": [""]}}}, "filter is invalid: format mismatch"),
        ({"advancedMeterGroupByFilters": {"subject": {}}}, "validation error: meter does not have group by: subject"),
        ({"advancedMeterGroupByFilters": []}, "invalid request body: advancedMeterGroupByFilters: "),
        (
            {"advancedMeterGroupByFilters": {"model": {}}, "filterGroupBy": {"model": ["a"]}},
            "advanced meter group by filters and filter group by cannot be used together",
        ),
        ({"clientId": ""}, "invalid request body: clientId: "),
        ([], "invalid request body: must be a JSON object"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_wrong_member_of_a_posted_query_is_named(still: ApiClient, body: object, detail: str) -> None:
    """Contract 2.2, D.10, D.24."""
    answer = still.post(QUERY, json=body)

    assert answer.status_code == 400
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize(
    "parameter", ["windowSize=DAY", "windowsize=DAY", "filterGroupBy[model]=a", "subject=a", "to="]
)
@pytest.mark.parametrize("path", [QUERY, "/api/v1/portal/meters/tokens_total/query"], ids=["key", "token"])
def test_members_of_a_body_are_not_looked_for_in_the_query_string(
    still: ApiClient, still_token: Callable[..., dict[str, str]], path: str, parameter: str
) -> None:
    """Contract 2.2, D.8: parameters without effect are refused. On the portal, a subject is ignored in both places."""
    on_portal = path != QUERY

    answer = still.post(
        f"{path}?{parameter}&clientId=x&pretty=1", json={}, headers=still_token("a") if on_portal else {}
    )

    if on_portal and parameter == "subject=a":
        assert answer.status_code == 200
    else:
        assert answer.status_code == 400
        assert answer.json()["detail"] == f'parameter "{parameter.partition("=")[0]}" must be given in the body'


@pytest.mark.usefixtures("usage")
def test_filters_that_filter_nothing_go_beside_others(client: ApiClient) -> None:
    """Contract 2.2: `[]` does not filter, so it does not conflict with other filters."""
    body = {"filterGroupBy": {"model": []}, "advancedMeterGroupByFilters": {"model": {"$eq": "a"}}}

    answer = client.post(QUERY, json=body)

    assert answer.status_code == 200
    assert [row["value"] for row in answer.json()["data"]] == [0.3]
