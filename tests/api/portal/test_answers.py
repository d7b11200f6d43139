"""The holders of portal tokens may see one subject, on all routes."""

import json
from collections.abc import Callable

import httpx
import pytest

from tests.api.conftest import Create, Send, Token
from tests.api.portal.conftest import METERS, QUERY, VALUES
from tests.harness.api_client import ApiClient

# usage, meters and values


def ask_by_get(client: ApiClient, url: str, headers: dict[str, str]) -> httpx.Response:
    return client.get(url, headers=headers)


def ask_by_post(client: ApiClient, url: str, headers: dict[str, str]) -> httpx.Response:
    return client.post(url, headers=headers, json={})


@pytest.mark.usefixtures("usage")
def test_the_subject_of_every_answer_is_the_tokens(anyone: ApiClient, token: Token) -> None:
    """R20: on each portal route. Nothing in a request can change it."""
    mine, empty = token("customer-1"), token("customer-3")

    widened = f"{QUERY}?subject=customer-2&filterCustomerId=customer-2&Subject=customer-2&groupBy=subject"
    by_get = anyone.get(widened, headers=mine).json()["data"]
    by_post = anyone.post(QUERY, headers=mine, json={"subject": ["customer-2"], "filterCustomerId": ["x"]}).json()[
        "data"
    ]
    csv = anyone.get(f"{QUERY}?groupBy=model&subject=customer-2", headers={**mine, "Accept": "text/csv"}).text
    values = anyone.get(f"{VALUES}?subject=customer-2", headers=mine).json()

    assert [(row["subject"], row["value"]) for row in by_get] == [("customer-1", 3)]
    assert [(row["subject"], row["value"]) for row in by_post] == [("customer-1", 3)]
    assert [line.split(",")[2:] for line in csv.splitlines()] == [
        ["subject", "model", "value"],
        ["customer-1", "a", "1"],
        ["customer-1", "b", "2"],
    ]
    assert values == ["a", "b"]
    assert anyone.get(QUERY, headers=empty).json() == {"data": []}
    assert anyone.get(VALUES, headers=empty).json() == []


@pytest.mark.usefixtures("usage")
def test_a_portal_query_takes_what_the_management_query_takes(anyone: ApiClient, token: Token) -> None:
    """Contract 1.4, 2.3, D.11."""
    mine = token("customer-1")

    body = anyone.get(f"{QUERY}?windowSize=MONTH&filterGroupBy[model]=a&groupBy=model&clientId=c", headers=mine).json()
    posted = anyone.post(QUERY, headers=mine, json={"filterGroupBy": {"model": ["b", "secret"]}}).json()
    advanced = {"model": {"$or": [{"$like": "sec%"}, {"$gt": "a"}]}}
    by_get = anyone.get(QUERY, params={"advancedMeterGroupByFilters": json.dumps(advanced)}, headers=mine).json()
    by_post = anyone.post(QUERY, headers=mine, json={"advancedMeterGroupByFilters": advanced}).json()

    assert [(row["value"], row["groupBy"]) for row in body["data"]] == [(1, {"model": "a"})]
    assert [row["value"] for row in posted["data"]] == [2]
    assert [(row["subject"], row["value"]) for row in by_get["data"]] == [("customer-1", 2)]
    assert by_post == by_get


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("groupBy=customer_id", "validation error: customer filter is required with customer_id group by"),
        ("groupBy=region", "validation error: invalid group by: region"),
        ("filterGroupBy[region]=x", "validation error: invalid group by filter: region"),
        ("filterGroupBy[model]=", "filter is invalid: format mismatch"),
        ("windowSize=WEEK", 'parameter "windowSize" in query has an error: '),
        ("windowsize=DAY", 'parameter "windowsize" is unknown, did you mean "windowSize"?'),
        ("model=a", 'parameter "model" is unknown, did you mean "filterGroupBy[model]"?'),
        ("from=2025-01-01", "invalid param format from: from: "),
        (f"clientId={'x' * 37}", 'parameter "clientId" in query has an error: '),
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
    ],
)
def test_a_wrong_portal_parameter_is_named(still: ApiClient, still_token: Token, query: str, detail: str) -> None:
    """Contract 1.4, D.8, D.10."""
    answer = still.get(f"{QUERY}?{query}", headers=still_token("a"))

    assert answer.status_code == 400
    assert detail in answer.json()["detail"]


@pytest.mark.usefixtures("usage")
def test_portal_csv_always_has_the_subject(anyone: ApiClient, token: Token) -> None:
    """Contract 1.4."""
    answer = anyone.get(
        f"{QUERY}?from=2025-01-01T00:00:00Z&to=2095-01-01T00:00:00Z",
        headers={**token("customer-1"), "Accept": "text/csv;q=1"},
    )

    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == "attachment; filename=tokens_total.csv"
    assert answer.text == (
        "window_start,window_end,subject,value\n2025-01-01T00:00:00Z,2095-01-01T00:00:00Z,customer-1,3\n"
    )


def test_a_token_sees_the_meters_it_allows(client: ApiClient, anyone: ApiClient, meter: Create, token: Token) -> None:
    """Contract 1.4, D.14, D.22: the answer is a plain array, without metadata, which is only for the operator."""
    meter(metadata={"margin": "high"})
    meter(slug="other")

    def slugs(headers: dict[str, str]) -> list[str]:
        return [item["slug"] for item in anyone.get(METERS, headers=headers).json()]

    every, one = token("a"), token("a", allowedMeterSlugs=["tokens_total"])
    assert slugs(every) == ["other", "tokens_total"]
    assert slugs(one) == ["tokens_total"]
    assert "margin" not in anyone.get(METERS, headers=one).text
    client.delete("/api/v1/meters/tokens_total")
    assert slugs(one) == []


@pytest.mark.parametrize("ask", [ask_by_get, ask_by_post])
@pytest.mark.parametrize("slug", ["other", "unknown", "Not-a-slug"])
def test_a_meter_not_allowed_is_401_before_it_is_looked_up(
    still: ApiClient, still_token: Token, ask: Callable[..., httpx.Response], slug: str
) -> None:
    """D.3."""
    limited = still_token("a", ["tokens_total"])

    answer = ask(still, f"{METERS}/{slug}/query?from=nonsense", limited)

    assert (answer.status_code, answer.json()["detail"]) == (401, "meter slug not allowed")
    values = still.get(f"{METERS}/{slug}/group-by/model/values", headers=limited)
    assert (values.status_code, values.json()["detail"]) == (401, "meter slug not allowed")


def test_an_allowed_meter_that_is_not_there_is_404(anyone: ApiClient, meter: Create, token: Token) -> None:
    """Contract 1.4; portal paths hold slugs, never ids."""
    created, mine = meter(), token("a")
    for name in ("unknown", created["id"].lower()):
        answer = anyone.get(f"{METERS}/{name}/query", headers=mine)

        assert (answer.status_code, answer.json()["detail"]) == (404, f"not found error: meter not found: {name}")

    assert anyone.get(f"{METERS}/{created['id']}/query", headers=mine).status_code == 400


def test_group_by_values_of_an_unknown_key_are_400(still: ApiClient, still_token: Token) -> None:
    """Contract 1.4, 2.2, D.14."""
    for key in ("region", "subject"):
        answer = still.get(f"{METERS}/tokens_total/group-by/{key}/values", headers=still_token("a"))

        assert answer.json()["detail"] == "validation error: group by key is not valid for this meter"


@pytest.mark.usefixtures("usage")
@pytest.mark.parametrize("subject", ["me", ["someone"], 5, {"key": "me"}, None], ids=repr)
def test_whatever_a_portal_body_says_of_whom_is_ignored(anyone: ApiClient, token: Token, subject: object) -> None:
    """Contract 1.4: as in the query string."""
    body = {"subject": subject, "filterCustomerId": subject}

    answer = anyone.post(QUERY, headers=token("customer-1"), json=body)

    assert answer.status_code == 200
    assert [(row["subject"], row["value"]) for row in answer.json()["data"]] == [("customer-1", 3)]


# conditional requests


@pytest.mark.usefixtures("usage")
def test_an_unchanged_answer_is_304(anyone: ApiClient, token: Token, send: Send) -> None:
    """D.14."""
    mine = token("customer-1")
    first = anyone.get(QUERY, headers=mine)
    tag = first.headers["etag"]

    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = anyone.get(QUERY, headers={**mine, "If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)

    assert first.headers["cache-control"] == "private, no-cache"
    assert anyone.get(QUERY, headers={**mine, "If-None-Match": '"other"'}).status_code == 200
    send(("customer-1", "2025-01-01T00:00:00Z", {"tokens": 1}), type_="unrelated")
    assert anyone.get(QUERY, headers=mine).headers["etag"] == tag


@pytest.mark.usefixtures("usage")
def test_an_etag_differs_by_token_representation_and_answer(anyone: ApiClient, token: Token, send: Send) -> None:
    """D.24."""
    mine = token("customer-1")
    before = anyone.get(QUERY, headers=mine).headers["etag"]
    tags = {
        before,
        anyone.get(QUERY, headers=token("customer-1")).headers["etag"],
        anyone.get(QUERY, headers={**mine, "Accept": "text/csv"}).headers["etag"],
        anyone.get(f"{QUERY}?windowSize=DAY", headers=mine).headers["etag"],
        anyone.get(METERS, headers=mine).headers["etag"],
    }
    assert len(tags) == 5
    send(("customer-1", "2025-01-02T00:00:00Z", {"tokens": 1, "model": "z"}), type_="prompt")

    changed = anyone.get(QUERY, headers={**mine, "If-None-Match": before})

    assert (changed.status_code, changed.headers["etag"] in tags) == (200, False)


# the subject


SUBJECT = "/api/v1/portal/subject"


def test_a_token_shows_its_subject_and_the_current_period(anyone: ApiClient, client: ApiClient, token: Token) -> None:
    """N36, contract 1.4: only what is meant for the holder is shown. The rest is only for the operator."""
    said = {
        "displayName": "ACME",
        "metadata": {"secret": "x"},
        "stripeCustomerId": "cus_1",
        "currentPeriodStart": "2026-11-15T13:27:41.5Z",
        "currentPeriodEnd": "2026-12-15T13:27:41.5Z",
    }
    assert client.post("/api/v1/subjects", json=[{"key": "customer-1", **said}]).status_code == 200

    answer = anyone.get(SUBJECT, headers=token("customer-1"))

    shown = {name: text for name, text in said.items() if name not in {"metadata", "stripeCustomerId"}}
    assert (answer.status_code, answer.json()) == (200, {"key": "customer-1", **shown})
    known = {**token("customer-1"), "If-None-Match": "*"}
    assert anyone.get(SUBJECT, headers=known).status_code == 304


def test_a_subject_nothing_was_said_of_is_its_key(anyone: ApiClient, client: ApiClient, token: Token) -> None:
    """N36, contract 1.4: a key that equals the id of another subject shows nothing of that subject."""
    (other,) = client.post("/api/v1/subjects", json=[{"key": "other", "displayName": "Other"}]).json()

    for key in ("nobody", other["id"], "OTHER"):
        assert anyone.get(SUBJECT, headers=token(key)).json() == {"key": key}


def test_the_subject_is_shown_to_tokens_only(anyone: ApiClient, client: ApiClient) -> None:
    """N36, D.1."""
    assert anyone.get(SUBJECT).json()["detail"] == "missing authorization header"
    assert client.get(SUBJECT).json()["detail"] == "invalid token: malformed"
