"""Usage queries with the API key are answered in JSON, and a wrong parameter is refused by name."""

from collections.abc import Callable

import pytest

from tests.api.conftest import QUERY, Create
from tests.api.usage.conftest import JANUARY, rows_of
from tests.harness.api_client import ApiClient


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


@pytest.mark.usefixtures("usage")
def test_a_subject_is_text_whatever_it_holds(client: ApiClient) -> None:
    """R19: values are bound as parameters and never become SQL text."""
    for hostile in ("' OR 1=1 --", "{subject:String}", "%s", "a\\' OR 1", "\0", "'); DROP TABLE events; --"):
        answer = client.get(QUERY, params={"subject": hostile, "filterGroupBy[model]": hostile})

        assert (answer.status_code, answer.json()["data"]) == (200, [])


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
