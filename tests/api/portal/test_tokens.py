"""Portal tokens are created, listed and invalidated with the API key."""

import dataclasses
import time
from datetime import UTC, datetime, timedelta

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from tests.api.conftest import KEY, SIGNING_KEY, Create, Token, Unrecorded
from tests.api.portal.conftest import QUERY
from tests.harness.api_client import ApiClient

TOKENS = "/api/v1/portal/tokens"
UNRECORDED = "01JN8Z0000000000000000000A"


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
