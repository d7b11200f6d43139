"""Usage queries with the API key: parameters, JSON, CSV, POST, and what is refused."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from api.dependencies import Dependencies
from engine.meters.fill import Filler
from engine.meters.meter import MeterState
from engine.meters.registry import MeterRegistry
from engine.metrics import REGISTRY
from tests.harness.api_client import ApiClient
from tests.harness.no_ingest import NoIngest

QUERY = "/api/v1/meters/tokens_total/query"
JANUARY = "from=2025-01-01T00:00:00Z&to=2025-02-01T00:00:00Z"
Create = Callable[..., dict[str, Any]]
Send = Callable[..., None]


@pytest.fixture
def usage(meter: Create, send: Send) -> None:
    meter()
    send(
        ("customer-1", "2025-01-01T10:00:00Z", {"tokens": "0.1", "model": "a", "type": "in"}),
        ("customer-1", "2025-01-01T11:00:00Z", {"tokens": "0.2", "model": "a", "type": "out"}),
        ("customer-2", "2025-01-02T00:00:00Z", {"tokens": 5, "model": 'b,"x"', "type": "in"}),
    )


@pytest.mark.usefixtures("usage")
def test_an_answer_echoes_the_query_and_frames_the_rows(client: ApiClient) -> None:
    """Contract 1.4, D.5: exact digits, no charset."""
    answer = client.get(f"{QUERY}?{JANUARY}&windowSize=DAY")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-meterport-grains"] == "raw"
    assert answer.text.replace("\n", "") == (
        '{"from":"2025-01-01T00:00:00Z","to":"2025-02-01T00:00:00Z","windowSize":"DAY","data":['
        '{"value":0.3,"windowStart":"2025-01-01T00:00:00Z","windowEnd":"2025-01-02T00:00:00Z",'
        '"subject":null,"groupBy":{}},'
        '{"value":5,"windowStart":"2025-01-02T00:00:00Z","windowEnd":"2025-01-03T00:00:00Z",'
        '"subject":null,"groupBy":{}}]}'
    )


@pytest.mark.usefixtures("usage")
def test_what_is_not_asked_for_is_not_echoed(client: ApiClient) -> None:
    """Contract 1.4."""
    body = client.get(QUERY).json()

    assert list(body) == ["data"]
    assert [row["value"] for row in body["data"]] == [5.3]


@pytest.mark.usefixtures("usage")
def test_bounds_are_echoed_with_their_offset(client: ApiClient) -> None:
    """Contract 1.4, D.6."""
    body = client.get(QUERY, params={"from": "2025-01-01T02:00:00.120+02:00", "to": "2025-01-02T00:00:00Z"}).json()

    assert body["from"] == "2025-01-01T02:00:00.12+02:00"
    assert [(row["value"], row["windowStart"]) for row in body["data"]] == [(0.3, "2025-01-01T02:00:00.12+02:00")]


@pytest.mark.usefixtures("usage")
def test_windows_follow_the_zone(client: ApiClient) -> None:
    """Contract 1.4, 4.7."""
    rows = client.get(f"{QUERY}?{JANUARY}&windowSize=DAY&windowTimeZone=America/Los_Angeles").json()["data"]

    assert [(row["windowStart"], row["value"]) for row in rows] == [("2025-01-01T00:00:00-08:00", 5.3)]


def rows_of(body: dict[str, Any]) -> list[tuple[object, ...]]:
    return [(row["subject"], row["groupBy"], row["value"]) for row in body["data"]]


@pytest.mark.usefixtures("usage")
@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("groupBy=subject", [("customer-1", {}, 0.3), ("customer-2", {}, 5)]),
        ("subject=customer-1", [("customer-1", {}, 0.3)]),
        ("subject=customer-1&subject=customer-2", [("customer-1", {}, 0.3), ("customer-2", {}, 5)]),
        ("subject=customer-1,customer-2", []),
        ("subject=nobody", []),
        ("groupBy=model", [(None, {"model": "a"}, 0.3), (None, {"model": 'b,"x"'}, 5)]),
        ("groupBy=model&groupBy=model", [(None, {"model": "a"}, 0.3), (None, {"model": 'b,"x"'}, 5)]),
        (
            "groupBy=type&groupBy=model",
            [
                (None, {"type": "in", "model": "a"}, 0.1),
                (None, {"type": "in", "model": 'b,"x"'}, 5),
                (None, {"type": "out", "model": "a"}, 0.2),
            ],
        ),
        ("filterGroupBy[type]=in", [(None, {}, 5.1)]),
        ("filterGroupBy%5Btype%5D=in&filterGroupBy%5Bmodel%5D=a", [(None, {}, 0.1)]),
        ("filterGroupBy[type]=in&subject=customer-2", [("customer-2", {}, 5)]),
        ("clientId=progress-1&unknown=1&hasError", [(None, {}, 5.3)]),
    ],
)
def test_groups_and_filters(client: ApiClient, query: str, rows: list[tuple[object, ...]]) -> None:
    """Contract 0, 2.2: lists repeat the parameter, maps use brackets, and a comma does not separate values."""
    assert rows_of(client.get(f"{QUERY}?{JANUARY}&{query}").json()) == rows


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("from=2025-01-01", "invalid param format from: from: not an RFC 3339 timestamp with an offset"),
        ("to=2025-01-01T00:00:00", "invalid param format from: to: not an RFC 3339 timestamp with an offset"),
        ("from=2025-01-01T00:00:00+02:00", "invalid param format from: from: "),
        ("from=0001-01-01T00:00:00%2B01:00", "invalid param format from: from: "),
        ("to=9999-12-31T23:59:59-01:00", "invalid param format from: to: "),
        ("from=", "invalid param format from: from: "),
        (
            "windowSize=WEEK",
            'parameter "windowSize" in query has an error: value is not one of the allowed values '
            '["MINUTE","HOUR","DAY","MONTH"]',
        ),
        ("windowSize=day", 'parameter "windowSize" in query has an error: '),
        ("windowsize=DAY", 'parameter "windowsize" is unknown, did you mean "windowSize"?'),
        ("FROM=2025-01-01T00:00:00Z", 'parameter "FROM" is unknown, did you mean "from"?'),
        ("groupby=model", 'parameter "groupby" is unknown, did you mean "groupBy"?'),
        ("filtergroupby[model]=a", 'parameter "filtergroupby" is unknown, did you mean "filterGroupBy"?'),
        ("windowSize=DAY&windowSize=DAY", 'parameter "windowSize" has multiple values'),
        ("model=a", 'parameter "model" is unknown, did you mean "filterGroupBy[model]"?'),
        ("x=1&type=in", 'parameter "type" is unknown, did you mean "filterGroupBy[type]"?'),
        ("filterGroupBy=model", 'parameter "filterGroupBy" must be given as filterGroupBy[key]=value'),
        ("filterGroupBy=%7B%27model%27%3A+%27a%27%7D", 'parameter "filterGroupBy" must be given as'),
        ("filterGroupBy[model]=a&filterGroupBy[model]=b", 'parameter "filterGroupBy[model]" has multiple values'),
        ("filterGroupBy[]=a", 'parameter "filterGroupBy[]" must be given as filterGroupBy[key]=value'),
        ("filterGroupBy[a][b]=a", 'parameter "filterGroupBy[a][b]" must be given as'),
        ("subject[]=a", 'parameter "subject[]" must be given as subject=value'),
        ("windowTimeZone=Mars/Olympus", "validation error: invalid time zone: unknown time zone Mars/Olympus"),
        ("windowTimeZone=../UTC", "validation error: invalid time zone: unknown time zone ../UTC"),
        ("groupBy=region", "validation error: invalid group by: region"),
        ("groupBy=model,type", "validation error: invalid group by: model,type"),
        ("filterGroupBy[region]=eu", "validation error: invalid group by filter: region"),
        ("filterGroupBy[subject]=a", "validation error: invalid group by filter: subject"),
        ("filterGroupBy[model]=", "filter is invalid: format mismatch"),
        ("from=2025-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", "validation error: from and to cannot be equal"),
        ("from=2025-01-02T00:00:00Z&to=2025-01-01T00:00:00Z", "validation error: from must be before to"),
        ("filterCustomerId=01G65Z755AFWAKHE12NY0CQ9FH", 'parameter "filterCustomerId" is not supported'),
        ("groupBy=customer_id", 'parameter "groupBy": customer_id is not supported'),
        ("advancedMeterGroupByFilters=x", "invalid param format from: advancedMeterGroupByFilters: not JSON: "),
        ("advancedMeterGroupByFilters=[]", "invalid param format from: advancedMeterGroupByFilters: not a JSON object"),
        ('advancedMeterGroupByFilters={"region":{}}', "validation error: meter does not have group by: region"),
        (
            'advancedMeterGroupByFilters={"model":{"$eq":"a","$ne":"b"}}',
            "validation error: invalid group by filter: model: filter is invalid: multiple operators are set",
        ),
        (
            'advancedMeterGroupByFilters={"model":{}}&filterGroupBy[model]=a',
            "validation error: advanced meter group by filters and filter group by cannot be used together",
        ),
        (f"clientId={'x' * 37}", 'parameter "clientId" in query has an error: length must be 1 to 36'),
        ("clientId=", 'parameter "clientId" in query has an error: length must be 1 to 36'),
    ],
)
def test_a_wrong_parameter_is_named(still: ApiClient, query: str, detail: str) -> None:
    """Contract 0, 1.4, D.8, D.10."""
    answer = still.get(f"{QUERY}?{query}")

    assert answer.status_code == 400
    assert detail in answer.json()["detail"]
    assert answer.json()["code"] == "invalid-request"


def test_an_unknown_meter_is_404(client: ApiClient) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, QUERY, json={} if method == "POST" else None)

        assert answer.status_code == 404
        assert answer.json()["detail"] == "not found error: meter not found: tokens_total"


@pytest.mark.parametrize("aggregation", ["COUNT", "UNIQUE_COUNT"])
def test_a_count_of_nothing_is_zero(client: ApiClient, meter: Create, aggregation: str) -> None:
    """Contract 4.6."""
    meter(aggregation=aggregation, valueProperty=None if aggregation == "COUNT" else "$.tokens")

    (row,) = client.get(f"{QUERY}?{JANUARY}").json()["data"]

    assert (row["value"], row["windowStart"]) == (0, "2025-01-01T00:00:00Z")
    assert client.get(f"{QUERY}?{JANUARY}&subject=a").json()["data"] == []


CSV_ROWS = (
    "window_start,window_end,subject,type,model,value\n"
    "2025-01-01T00:00:00Z,2025-02-01T00:00:00Z,customer-1,in,a,0.1\n"
    "2025-01-01T00:00:00Z,2025-02-01T00:00:00Z,customer-1,out,a,0.2\n"
    '2025-01-01T00:00:00Z,2025-02-01T00:00:00Z,customer-2,in,"b,""x""",5\n'
)


@pytest.mark.usefixtures("usage")
@pytest.mark.parametrize("accept", ["text/csv", "Text/CSV", "text/csv;q=1", "text/csv; charset=utf-8"])
def test_csv_is_answered_to_exactly_one_media_type(client: ApiClient, accept: str) -> None:
    """Contract 1.4, D.5, D.9: exact decimals, subject first, then the keys in the order asked for."""
    answer = client.get(f"{QUERY}?{JANUARY}&groupBy=type&groupBy=model&groupBy=subject", headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == "attachment; filename=tokens_total.csv"
    assert answer.text == CSV_ROWS


@pytest.mark.parametrize("accept", ["text/csv, application/json", "*/*", "application/json", "text/*", "", "text/csvx"])
def test_json_is_answered_to_everything_else(still: ApiClient, accept: str) -> None:
    """Contract 1.4."""
    answer = still.get(QUERY, headers={"Accept": accept})

    assert answer.headers["content-type"] == "application/json"


def test_csv_is_named_for_the_slug_when_asked_by_id(client: ApiClient, meter: Create) -> None:
    created = meter()

    answer = client.get(f"/api/v1/meters/{created['id']}/query", headers={"Accept": "text/csv"})

    assert answer.headers["content-disposition"] == "attachment; filename=tokens_total.csv"
    assert answer.text == "window_start,window_end,value\n"


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


ADVANCED: list[tuple[dict[str, object], list[object]]] = [
    ({"type": {"$eq": "in"}}, [5.1]),
    ({"type": {"$ne": "in"}}, [0.2]),
    ({"type": {"$in": []}}, []),
    ({"type": {"$nin": ["out"]}, "model": {"$like": "a%"}}, [0.1]),
    ({"model": {"$or": [{"$eq": "a"}, {"$ilike": 'B%"X"'}]}}, [5.3]),
    ({"model": {"$and": [{"$gt": "a"}, {"$lt": "c"}]}}, [5]),
    ({"model": {"$eq": "' OR 1=1 --"}}, []),
    ({"model": {}}, [5.3]),
    ({}, [5.3]),
]


@pytest.mark.usefixtures("usage")
def test_advanced_filters_answer_alike_by_get_and_post_from_events_and_rollups(
    client: ApiClient, dependencies: Dependencies
) -> None:
    """Contract 2.3, D.11."""
    for grains in ("raw", "day"):
        for filters, values in ADVANCED:
            bounds = dict(parse_qsl(JANUARY))
            written = orjson.dumps(filters).decode()
            by_get = client.get(QUERY, params={**bounds, "advancedMeterGroupByFilters": written})
            posted = client.post(QUERY, json={**bounds, "advancedMeterGroupByFilters": filters, "filterGroupBy": {}})

            assert [row["value"] for row in by_get.json()["data"]] == values, (grains, filters)
            assert posted.content == by_get.content
            assert by_get.headers["x-meterport-grains"] == grains
        fill(dependencies)


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


@pytest.mark.usefixtures("usage")
def test_a_subject_is_text_whatever_it_holds(client: ApiClient) -> None:
    """R19: values are bound as parameters and never become SQL text."""
    for hostile in ("' OR 1=1 --", "{subject:String}", "%s", "a\\' OR 1", "\0", "'); DROP TABLE events; --"):
        answer = client.get(QUERY, params={"subject": hostile, "filterGroupBy[model]": hostile})

        assert (answer.status_code, answer.json()["data"]) == (200, [])


@pytest.mark.usefixtures("usage")
def test_a_rollup_replaced_under_the_query_is_found_again(client: ApiClient, dependencies: Dependencies) -> None:
    """A snapshot of the registry from before a rebuild names deleted tables: it is reloaded, and the query repeated."""
    old = dependencies.registry.find("tokens_total")
    assert dependencies.registry.advance(old, MeterState.READY, old.filled_to)
    changed = old.definition.model_copy(update={"group_by": {"type": "$.type"}})
    MeterRegistry(dependencies.store).update("tokens_total", lambda _: changed)

    rows = client.get(f"{QUERY}?groupBy=type").json()["data"]

    assert [(row["groupBy"], row["value"]) for row in rows] == [({"type": "in"}, 5.1), ({"type": "out"}, 0.2)]


@pytest.mark.usefixtures("usage")
def test_a_meter_deleted_under_the_query_is_404(client: ApiClient, dependencies: Dependencies) -> None:
    """The same situation, but no table is left to query."""
    meter = dependencies.registry.find("tokens_total")
    assert dependencies.registry.advance(meter, MeterState.READY, meter.filled_to)
    MeterRegistry(dependencies.store).delete("tokens_total")

    assert client.get(QUERY).status_code == 404


def fill(dependencies: Dependencies) -> None:
    """Fill the meter, so that it answers from its rollup."""
    filler = Filler(dependencies.store, dependencies.registry, NoIngest())
    deadline = time.monotonic() + 30
    while dependencies.registry.find("tokens_total").state is not MeterState.READY and time.monotonic() < deadline:
        time.sleep(0 if filler.step() else 0.1)


@pytest.mark.usefixtures("usage")
def test_management_answers_are_conditional_too(client: ApiClient, send: Callable[..., None]) -> None:
    """Contract 0, D.24: the ETag changes whenever the answer changes."""
    first = client.get(f"{QUERY}?{JANUARY}")
    again = client.get(f"{QUERY}?{JANUARY}", headers={"If-None-Match": first.headers["etag"]})
    as_csv = client.get(f"{QUERY}?{JANUARY}", headers={"Accept": "text/csv"})
    send(("customer-1", "2025-01-03T00:00:00Z", {"tokens": 1, "model": "a", "type": "in"}))
    changed = client.get(f"{QUERY}?{JANUARY}", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (changed.status_code, changed.headers["etag"] != first.headers["etag"]) == (200, True)
    assert as_csv.headers["etag"] != first.headers["etag"]


@pytest.mark.usefixtures("usage")
def test_csv_names_subjects_that_have_a_name(client: ApiClient) -> None:
    """Contract 4.7: the column exists if at least one subject of the answer has a name. It is empty for the others."""

    def csv(query: str) -> list[list[str]]:
        text = client.get(f"{QUERY}?{JANUARY}&{query}", headers={"Accept": "text/csv"}).text
        return [line.split(",")[2:] for line in text.splitlines()]

    before = csv("groupBy=subject")
    client.post("/api/v1/subjects", json=[{"key": "customer-1", "displayName": 'Anna "A"'}, {"key": "customer-3"}])

    assert before == [["subject", "value"], ["customer-1", "0.3"], ["customer-2", "5"]]
    assert csv("groupBy=type&groupBy=subject&filterGroupBy[type]=in") == [
        ["subject", "subject_display_name", "type", "value"],
        ["customer-1", '"Anna ""A"""', "in", "0.1"],
        ["customer-2", "", "in", "5"],
    ]
    assert csv("subject=customer-2") == [["subject", "value"], ["customer-2", "5"]]
    assert csv("groupBy=type")[0] == ["type", "value"]
    client.delete("/api/v1/subjects/customer-1")
    assert csv("groupBy=subject") == before
    client.post("/api/v1/subjects", json=[{"key": "customer-2"}])
    assert csv("subject=customer-2") == [["subject", "subject_display_name", "value"], ["customer-2", "", "5"]]


@pytest.mark.usefixtures("usage")
def test_a_filled_rollup_answers_and_says_so(client: ApiClient, dependencies: Dependencies) -> None:
    """R21."""
    raw = client.get(f"{QUERY}?{JANUARY}&windowSize=DAY&groupBy=model")
    fill(dependencies)

    filled = client.get(f"{QUERY}?{JANUARY}&windowSize=DAY&groupBy=model")
    uneven = client.get(f"{QUERY}?from=2025-01-01T10:30:00Z&to=2025-01-03T00:00:00Z")

    assert filled.headers["x-meterport-grains"] == "day"
    assert filled.content == raw.content
    assert uneven.headers["x-meterport-grains"] == "quarter,day"
    assert [row["value"] for row in uneven.json()["data"]] == [5.2]


@pytest.mark.usefixtures("usage")
def test_queries_are_counted_by_grain(client: ApiClient) -> None:
    """R21."""
    before = REGISTRY.get_sample_value("meterport_usage_queries_total", {"grains": "raw"}) or 0

    client.get(f"{QUERY}?{JANUARY}&windowSize=DAY")

    assert REGISTRY.get_sample_value("meterport_usage_queries_total", {"grains": "raw"}) == before + 1


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
