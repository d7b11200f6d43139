"""Portal tokens, and what their holders may see: one subject, on all routes."""

import dataclasses
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from tests.api.conftest import KEY, SIGNING_KEY, Unrecorded
from tests.harness.api_client import ApiClient

TOKENS = "/api/v1/portal/tokens"
METERS = "/api/v1/portal/meters"
QUERY = f"{METERS}/tokens_total/query"
VALUES = f"{METERS}/tokens_total/group-by/model/values"
UNRECORDED = "01JN8Z0000000000000000000A"
EMPTY = "slug filter cannot be an empty array when provided"
Create = Callable[..., dict[str, Any]]
Send = Callable[..., None]
Token = Callable[..., dict[str, str]]


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


# tokens


def test_a_token_is_created(client: ApiClient, meter: Create) -> None:
    """Contract 1.1, D.2."""
    meter()
    before = datetime.now(UTC)

    answer = client.post(TOKENS, json={"subject": "customer-1", "allowedMeterSlugs": ["tokens_total"]})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert sorted(body) == ["allowedMeterSlugs", "createdAt", "expiresAt", "id", "subject", "token"]
    assert (body["subject"], body["allowedMeterSlugs"]) == ("customer-1", ["tokens_total"])
    assert body["token"].startswith("om_portal_")
    life = datetime.fromisoformat(body["expiresAt"]) - before
    assert timedelta(hours=23, minutes=59) < life < timedelta(hours=24, minutes=1)


def test_a_token_for_every_meter_shows_an_empty_list(client: ApiClient) -> None:
    """Contract 1.1."""
    for body in ({"subject": "a"}, {"subject": "a", "allowedMeterSlugs": None, "expiresAt": None}):
        assert client.post(TOKENS, json=body).json()["allowedMeterSlugs"] == []


def test_the_older_name_of_the_list_is_read_too(client: ApiClient, meter: Create) -> None:
    """D.2."""
    meter()

    body = client.post(TOKENS, json={"subject": "a", "allowedMeters": ["tokens_total"]}).json()

    assert body["allowedMeterSlugs"] == ["tokens_total"]


def test_a_requested_expiry_is_kept(client: ApiClient) -> None:
    """Contract 1.1."""
    wanted = (datetime.now(UTC) + timedelta(days=300)).replace(microsecond=0)

    body = client.post(
        TOKENS, json={"subject": "a", "expiresAt": wanted.isoformat(), "id": "x", "expired": False}
    ).json()

    assert body["expiresAt"] == wanted.isoformat().replace("+00:00", "Z")
    assert body["id"] != "x"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "invalid request body: subject: "),
        ({"subject": 1}, "invalid request body: subject: "),
        ({"subject": ""}, "validation error: subject is required"),
        ({"subject": "", "allowedMeterSlugs": ["unknown"]}, "validation error: subject is required"),
        (
            {"subject": "a", "allowedMeterSlugs": []},
            "validation error: slug filter cannot be an empty array when provided",
        ),
        ({"subject": "a", "allowedMeters": []}, "validation error: slug filter cannot be an empty array when provided"),
        ({"subject": "a", "allowedMeterSlugs": [""]}, "validation error: allowed meter slug cannot be empty"),
        ({"subject": "a", "allowedMeterSlugs": "tokens_total"}, "invalid request body: allowedMeterSlugs: "),
        ({"subject": "a", "allowedMeterSlugs": [1]}, "invalid request body: allowedMeterSlugs.0: "),
        (
            {"subject": "a", "allowedMeterSlugs": ["tokens_total"], "allowedMeters": ["other"]},
            "invalid request body: allowedMeters and allowedMeterSlugs differ, give one of them",
        ),
        ({"subject": "a", "allowedmeterslugs": ["x"]}, 'invalid request body: "allowedmeterslugs" is unknown'),
        ({"subject": "a", "allowedMeterSlug": ["x"]}, "invalid request body: allowedMeterSlug: "),
        (
            {"subject": "a", "expiresAt": "2020-01-01T00:00:00Z"},
            "validation error: expiration date must be in the future",
        ),
        ({"subject": "a", "expiresAt": "2098-01-01T00:00:00Z"}, "validation error: expiration date must be at most"),
        ({"subject": "a", "expiresAt": "2098-01-01"}, "invalid request body: expiresAt: "),
        ({"subject": "a", "expiresAt": 4102444800}, "invalid request body: expiresAt: not an RFC 3339 timestamp"),
        (["a"], "invalid request body: must be a JSON object"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_wrong_token_request_is_refused(still: ApiClient, body: object, detail: str) -> None:
    """Contract 1.1, D.2, D.22; a misspelt list of meters must not become every meter."""
    answer = still.post(TOKENS, json=body)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)
    assert still.get(TOKENS).json() == []


@pytest.mark.parametrize(
    ("slugs", "missing"), [(["tokens_total", "x", "y"], "x"), (["y", ""], "y"), (["Not a slug"], "Not a slug")]
)
def test_an_allowed_meter_must_exist(still: ApiClient, slugs: list[str], missing: str) -> None:
    """Contract 1.1: checked in the order of the request."""
    answer = still.post(TOKENS, json={"subject": "a", "allowedMeterSlugs": slugs})

    assert (answer.status_code, answer.json()["detail"]) == (404, f"not found error: meter not found: {missing}")


def test_a_meter_is_allowed_by_slug_not_by_id(client: ApiClient, meter: Create) -> None:
    """A token that names an id would allow nothing."""
    created = meter()

    assert client.post(TOKENS, json={"subject": "a", "allowedMeterSlugs": [created["id"]]}).status_code == 404
    assert client.post(TOKENS, json={"subject": "a", "allowedMeterSlugs": [created["id"].lower()]}).status_code == 404


def test_tokens_are_listed_newest_first_without_their_text(client: ApiClient, token: Token) -> None:
    """Contract 1.2, D.2, D.22."""
    texts = [token(subject)["Authorization"].split()[1] for subject in ("a", "b", "a")]

    answer = client.get(TOKENS)

    assert [item["subject"] for item in answer.json()] == ["a", "b", "a"]
    assert [item["subject"] for item in client.get(f"{TOKENS}?subject=b").json()] == ["b"]
    assert len(client.get(f"{TOKENS}?limit=1").json()) == 1
    assert sorted(answer.json()[0]) == ["allowedMeterSlugs", "createdAt", "expiresAt", "id", "subject"]
    assert not any(text in answer.text for text in texts)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "Subject=a", "subject=a&subject=b"])
def test_a_wrong_parameter_of_the_listing_is_refused(still: ApiClient, query: str) -> None:
    assert still.get(f"{TOKENS}?{query}").status_code == 400


def test_revoked_and_expired_tokens_stay_listed(
    portal: BlockingPortal, dependencies: Dependencies, token: Token
) -> None:
    """D.22."""
    client = ApiClient(portal, create_app(dependencies), {"Authorization": f"Bearer {KEY}"})
    token("a")
    client.post(f"{TOKENS}/invalidate", json={"subject": "a"})
    tomorrow = dataclasses.replace(dependencies, clock=lambda: datetime.now(UTC) + timedelta(days=2))
    later = ApiClient(portal, create_app(tomorrow), {"Authorization": f"Bearer {KEY}"})

    (now,), (then,) = client.get(TOKENS).json(), later.get(TOKENS).json()

    assert (now["revoked"], "expired" in now) == (True, False)
    assert (then["revoked"], then["expired"]) == (True, True)


@pytest.mark.usefixtures("usage")
def test_an_invalidated_token_is_refused_at_once(client: ApiClient, anyone: ApiClient, token: Token) -> None:
    """D.2: by id or by subject, 204, again and for a token that is not on record, too."""
    first, second, other = token("customer-1"), token("customer-1"), token("customer-2")
    newest_of_first = client.get(f"{TOKENS}?subject=customer-1").json()[1]["id"]

    assert client.post(f"{TOKENS}/invalidate", json={"id": newest_of_first}).status_code == 204
    refused = anyone.get(QUERY, headers=first)

    assert (refused.status_code, refused.json()["detail"]) == (401, "invalid token: revoked")
    assert anyone.get(QUERY, headers=second).status_code == 200
    for _ in range(2):
        answer = client.post(f"{TOKENS}/invalidate", json={"subject": "customer-1"})
        assert (answer.status_code, answer.content) == (204, b"")
    assert anyone.get(QUERY, headers=second).status_code == 401
    assert anyone.get(QUERY, headers=other).status_code == 200
    assert client.post(f"{TOKENS}/invalidate", json={"id": UNRECORDED, "subject": None}).status_code == 204


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "validation error: either id or subject must be provided"),
        ({"id": None}, "validation error: either id or subject must be provided"),
        ({"id": ""}, "validation error: id cannot be empty"),
        ({"subject": ""}, "validation error: subject cannot be empty"),
        ({"id": 7}, "invalid request body: id: "),
        ({"ID": "x"}, 'invalid request body: "ID" is unknown, did you mean "id"?'),
        ({"id": "nonsense"}, "validation error: id must be a ULID"),
        ({"id": UNRECORDED, "subject": ""}, "validation error: subject cannot be empty"),
        ({"subject": "x" * 2049}, "validation error: subject is longer than 2048 bytes"),
        ({"subject": "nobody", "tokenId": "x"}, "invalid request body: tokenId: "),
        ({"issuedBefore": "2026-01-01"}, "invalid request body: issuedBefore: not an RFC 3339 timestamp"),
        ({"issuedBefore": "2999-01-01T00:00:00Z"}, "validation error: issuedBefore must not be in the future"),
        (
            {"issuedBefore": "2026-01-01T00:00:00Z", "subject": "a"},
            "validation error: issuedBefore applies to every token: it cannot be combined with id or subject",
        ),
    ],
)
def test_a_wrong_invalidation_is_refused(still: ApiClient, body: dict[str, object], detail: str) -> None:
    """Contract 1.2, D.22."""
    answer = still.post(f"{TOKENS}/invalidate", json=body)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)


@pytest.mark.usefixtures("usage")
@pytest.mark.parametrize("name", ["id", "subject", "issuedBefore"])
def test_a_token_that_the_store_has_no_record_of_is_invalidated(
    client: ApiClient, anyone: ApiClient, dependencies: Dependencies, name: str
) -> None:
    """Case S3: it was issued after the backup that was restored. Then 204 must still mean that the token is invalid."""
    unrecorded = Unrecorded(dependencies.store, [SIGNING_KEY], dependencies.settings.portal)
    record, text = unrecorded.create("customer-1", None, None)
    mine = {"Authorization": f"Bearer {text}"}
    assert anyone.get(QUERY, headers=mine).status_code == 200
    after = record.created_at + timedelta(milliseconds=1)
    while datetime.now(UTC) < after:
        time.sleep(0.001)

    named = {"id": record.id.lower(), "subject": "customer-1", "issuedBefore": after.isoformat()}[name]
    answer = client.post(f"{TOKENS}/invalidate", json={name: named})
    refused = anyone.get(QUERY, headers=mine)

    assert (answer.status_code, answer.content) == (204, b"")
    assert (refused.status_code, refused.json()["detail"]) == (401, "invalid token: revoked")


# what a token shows


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


@pytest.mark.usefixtures("usage")
@pytest.mark.parametrize("subject", ["me", ["someone"], 5, {"key": "me"}, None], ids=repr)
def test_whatever_a_portal_body_says_of_whom_is_ignored(anyone: ApiClient, token: Token, subject: object) -> None:
    """Contract 1.4: as in the query string."""
    body = {"subject": subject, "filterCustomerId": subject}

    answer = anyone.post(QUERY, headers=token("customer-1"), json=body)

    assert answer.status_code == 200
    assert [(row["subject"], row["value"]) for row in answer.json()["data"]] == [("customer-1", 3)]


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
