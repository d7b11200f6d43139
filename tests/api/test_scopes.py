"""What each management key may do: every route with every scope, and what a key without the scope can find out."""

import dataclasses
import hmac
import logging
from collections.abc import Callable, Iterator

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from pydantic import SecretStr
from starlette.applications import Starlette

from api.app import create_app
from api.dependencies import Dependencies
from api.http.openapi import document, documented_path
from engine.config.api_keys import ApiKey
from engine.meters.definition import parse_definition
from engine.metrics import REGISTRY
from tests.api.conftest import KEY, QUERY, TOKENS_TOTAL, MemoryLog, event
from tests.api.test_auth import FOR_TOKENS, OPEN, PORTAL, calls
from tests.harness.api_client import ApiClient

SCOPES = ("ingest", "query", "tokens", "admin")
# Written from docs/contract.md, not from api/app.py.
NEEDED = {
    ("GET", "/metrics"): "admin",
    ("POST", "/api/v1/events"): "ingest",
    ("GET", "/api/v1/events"): "query",
    ("POST", "/api/v1/events/outcomes"): "query",
    ("GET", "/api/v2/events"): "query",
    ("GET", "/api/v1/debug/metrics"): "admin",
    ("GET", "/api/v1/duplicates"): "admin",
    ("GET", "/api/v1/dead-letters"): "admin",
    ("POST", "/api/v1/dead-letters/replay"): "admin",
    ("GET", "/api/v1/meters"): "query",
    ("POST", "/api/v1/meters"): "admin",
    ("GET", "/api/v1/meters/{meter}"): "query",
    ("PUT", "/api/v1/meters/{meter}"): "admin",
    ("DELETE", "/api/v1/meters/{meter}"): "admin",
    ("GET", "/api/v1/meters/{meter}/query"): "query",
    ("POST", "/api/v1/meters/{meter}/query"): "query",
    ("GET", "/api/v1/meters/{meter}/subjects"): "query",
    ("GET", "/api/v1/meters/{meter}/group-by/{key}/values"): "query",
    ("GET", "/api/v1/subjects"): "query",
    ("POST", "/api/v1/subjects"): "admin",
    ("GET", "/api/v1/subjects/{subject:path}"): "query",
    ("DELETE", "/api/v1/subjects/{subject:path}"): "admin",
    ("GET", "/api/v1/portal/tokens"): "tokens",
    ("POST", "/api/v1/portal/tokens"): "tokens",
    ("POST", "/api/v1/portal/tokens/invalidate"): "tokens",
}


def key_of(*scopes: str) -> str:
    return f"the-key-that-may-{'-and-'.join(scopes)}"


def bearer(*scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key_of(*scopes)}"}


def listed(*scopes: str, name: str | None = None, key: str | None = None) -> ApiKey:
    return ApiKey.model_validate(
        {"name": name or f"only-{'-'.join(scopes)}", "key": key or key_of(*scopes), "scopes": scopes}
    )


def with_keys(dependencies: Dependencies, *keys: ApiKey, one_key: str | None = None, **server: object) -> Starlette:
    """Return the application with these keys, and with settings of its server."""
    settings = dependencies.settings
    changes = {
        "api_key": SecretStr(one_key) if one_key else None,
        "api_keys": [*keys],
        "server": settings.server.model_copy(update=server),
    }
    return create_app(dataclasses.replace(dependencies, settings=settings.model_copy(update=changes)))


@pytest.fixture
def scoped_app(still_dependencies: Dependencies) -> Starlette:
    """The application with a key for each scope, and the meter `tokens_total`."""
    return with_keys(still_dependencies, *map(listed, SCOPES))


@pytest.fixture
def scoped(portal: BlockingPortal, scoped_app: Starlette) -> ApiClient:
    return ApiClient(portal, scoped_app)


def managed_calls(app: Starlette) -> Iterator[tuple[str, str, str]]:
    for method, path, template in calls(app):
        if template not in OPEN and not template.startswith(FOR_TOKENS):
            yield method, path, template


def test_every_managed_route_needs_the_scope_of_the_table(scoped: ApiClient, scoped_app: Starlette) -> None:
    """D.1. `-` is no valid body, so nothing changes. `admin` includes all scopes."""
    seen = set()
    for method, path, template in managed_calls(scoped_app):
        route = ("GET" if method == "HEAD" else method, template)
        seen.add(route)
        for scope in SCOPES:
            answer = scoped.request(method, path, headers=bearer(scope), content=b"-")

            assert answer.status_code != 401, (route, scope)
            assert (answer.status_code == 403) is (scope not in {NEEDED[route], "admin"}), (route, scope)
    assert seen == {*NEEDED}


def test_the_openapi_document_names_the_scope_of_every_route() -> None:
    """D.15."""
    documented = {
        (method.upper(), path): operation.get("security")
        for path, item in document()["paths"].items()
        for method, operation in item.items()
    }

    for (method, template), scope in NEEDED.items():
        assert documented[method, documented_path(template)] == [{"apiKey": [scope]}], (method, template)


def test_a_key_may_have_several_scopes_and_no_other(portal: BlockingPortal, still_dependencies: Dependencies) -> None:
    app = with_keys(still_dependencies, listed("ingest", "query"))
    client = ApiClient(portal, app, bearer("ingest", "query"))

    for method, path, template in managed_calls(app):
        needed = NEEDED["GET" if method == "HEAD" else method, template]
        answer = client.request(method, path, content=b"-")
        assert (answer.status_code == 403) is (needed not in {"ingest", "query"}), (method, template)


def test_the_one_key_may_do_everything(portal: BlockingPortal, still_dependencies: Dependencies) -> None:
    """D.1: it is the key of deployments without a list."""
    app = with_keys(still_dependencies, listed("ingest"), one_key=KEY)
    client = ApiClient(portal, app, {"Authorization": f"Bearer {KEY}"})

    for method, path, template in managed_calls(app):
        assert client.request(method, path, content=b"-").status_code not in {401, 403}, (method, template)
    assert client.get("/api/v1/meters", headers=bearer("ingest")).status_code == 403


def test_a_key_that_lacks_the_scope_is_told_so(scoped: ApiClient) -> None:
    """Contract 0."""
    answer = scoped.get("/api/v1/meters", headers=bearer("ingest"))

    body = answer.json()
    assert (answer.status_code, body["title"], body["code"]) == (403, "Forbidden", "forbidden")
    assert body["detail"] == 'the API key "only-ingest" lacks the scope query'
    assert "www-authenticate" not in answer.headers
    assert (answer.headers["cache-control"], answer.headers.get("etag")) == ("no-store", None)


@pytest.mark.parametrize("scope", ["ingest", "tokens"])
def test_without_the_scope_nobody_finds_out_what_exists(scoped: ApiClient, scope: str) -> None:
    """D.1: the meter exists or not, the parameter is known or not: the answers are equal."""

    def answers(*paths: str) -> list[dict[str, object]]:
        found = [scoped.get(path, headers=bearer(scope)) for path in paths]
        assert [answer.status_code for answer in found] == [403] * len(paths)
        return [{name: value for name, value in answer.json().items() if name != "instance"} for answer in found]

    meter = answers("/api/v1/meters/tokens_total", "/api/v1/meters/nope", f"{QUERY}?windowsize=x", f"{QUERY}?from=x")
    assert meter == [meter[0]] * 4


def test_a_key_for_events_sends_them_and_learns_nothing_of_meters_and_other_events(
    portal: BlockingPortal, dependencies: Dependencies, log: MemoryLog
) -> None:
    """Contract 3.1, 3.7: no answer says whether a meter counts the events, or which other events are stored."""
    dependencies.registry.create(parse_definition(TOKENS_TOTAL))
    client = ApiClient(portal, with_keys(dependencies, listed("ingest")), bearer("ingest"))
    uncounted = event("a", "customer-1", "2025-01-01T00:00:00Z", {"tokens": "many"})

    first = client.post("/api/v1/events", json=[uncounted])
    again = client.post("/api/v1/events", json=[uncounted])
    log.drain()
    lenient = client.post("/api/v1/events", json=[uncounted, {"id": "b"}], headers={"Prefer": "handling=lenient"})
    outcome = client.post("/api/v1/events/outcomes", json={"events": [{"source": "tests", "id": "a"}]})

    assert [(answer.status_code, answer.content) for answer in (first, again)] == [(204, b"")] * 2
    assert (lenient.status_code, "tokens_total" in lenient.text) == (200, False)
    assert (outcome.status_code, "stored" in outcome.text) == (403, False)


def test_a_key_for_tokens_makes_lists_and_invalidates_them(portal: BlockingPortal, dependencies: Dependencies) -> None:
    """Contract 1.1, 1.2: the token reads the subject's usage, which the key itself cannot."""
    client = ApiClient(portal, with_keys(dependencies, listed("tokens")), bearer("tokens"))

    made = client.post("/api/v1/portal/tokens", json={"subject": "customer-1"})
    mine = {"Authorization": f"Bearer {made.json()['token']}"}
    used = client.get(PORTAL, headers=mine)
    found = client.get("/api/v1/portal/tokens").json()
    ended = client.post("/api/v1/portal/tokens/invalidate", json={"subject": "customer-1"})

    assert (made.status_code, used.status_code, ended.status_code) == (200, 200, 204)
    assert [one["subject"] for one in found] == ["customer-1"]
    assert client.get("/api/v1/meters").status_code == 403


def test_while_keys_are_exchanged_both_are_accepted(portal: BlockingPortal, still_dependencies: Dependencies) -> None:
    old, new = listed("query", name="old", key="the-old-one"), listed("query", name="new", key="the-new-one")
    statuses = {}
    for step, keys in {"before": [old], "during": [old, new], "after": [new]}.items():
        client = ApiClient(portal, with_keys(still_dependencies, *keys))
        statuses[step] = [
            client.get("/api/v1/meters", headers={"Authorization": f"Bearer {key}"}).status_code
            for key in ("the-old-one", "the-new-one")
        ]

    assert statuses == {"before": [200, 401], "during": [200, 200], "after": [401, 200]}


@pytest.mark.parametrize("scope", SCOPES)
def test_no_listed_key_opens_a_portal_route(scoped: ApiClient, scoped_app: Starlette, scope: str) -> None:
    """D.1."""
    for method, path, template in calls(scoped_app):
        if template.startswith(FOR_TOKENS):
            assert scoped.request(method, path, headers=bearer(scope)).status_code == 401, (method, template)


def test_wrong_keys_are_limited_and_a_missing_scope_is_not_a_wrong_key(
    portal: BlockingPortal, still_dependencies: Dependencies
) -> None:
    """Case S12."""
    client = ApiClient(portal, with_keys(still_dependencies, *map(listed, SCOPES), wrong_keys_per_minute=2))

    lacking = [client.get("/api/v1/meters", headers=bearer("ingest")).status_code for _ in range(5)]
    wrong = [client.get("/api/v1/meters", headers=bearer("nothing")).status_code for _ in range(50)]

    assert lacking == [403] * 5
    assert wrong[:2] == [401] * 2
    assert wrong.count(429) > 25
    assert client.get("/api/v1/meters", headers=bearer("query")).status_code == 200


@pytest.mark.parametrize("scope", [*SCOPES, "nothing"])
def test_a_key_is_compared_with_all_keys(scoped: ApiClient, monkeypatch: pytest.MonkeyPatch, scope: str) -> None:
    """D.1: whichever key it is, the same comparisons are made, each in constant time."""
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest
    compared: list[bytes] = []

    def compare_and_note(sent: bytes, kept: bytes) -> bool:
        compared.append(kept)
        return compare(sent, kept)

    monkeypatch.setattr("api.http.auth.hmac.compare_digest", compare_and_note)

    scoped.get("/api/v1/subjects", headers=bearer(scope))

    assert len(compared) == len({*compared}) == 4


def requests_of(name: str, use: str) -> float | None:
    return REGISTRY.get_sample_value("meterport_key_requests_total", {"key": name, "use": use})


def test_requests_are_counted_by_the_name_of_their_key(
    portal: BlockingPortal, still_dependencies: Dependencies
) -> None:
    """Every name is there from the start; what clients send makes no further one."""
    keys = [listed("ingest", name="counted-1"), listed("query", name="counted-2"), listed("tokens", name="counted-3")]
    client = ApiClient(portal, with_keys(still_dependencies, *keys))
    assert [requests_of(f"counted-{number}", "allowed") for number in (1, 2, 3)] == [0, 0, 0]

    answers: list[httpx.Response] = [
        client.get("/api/v1/meters", headers=headers)
        for headers in (bearer("query"), bearer("query"), bearer("ingest"), bearer("nothing"), {})
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 403, 401, 401]
    assert [requests_of(f"counted-{number}", "allowed") for number in (1, 2, 3)] == [0, 2, 0]
    assert [requests_of(f"counted-{number}", "forbidden") for number in (1, 2, 3)] == [1, 0, 0]
    named = {
        sample.labels["key"]
        for family in REGISTRY.collect()
        if family.name == "meterport_key_requests"
        for sample in family.samples
    }
    assert {name for name in named if name.startswith("counted-")} == {"counted-1", "counted-2", "counted-3"}
    assert not [name for name in named if "nothing" in name]


def test_no_listed_key_is_ever_logged(scoped: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = [scoped.get("/api/v1/meters", headers=bearer(scope)) for scope in (*SCOPES, "nothing")]

    assert [answer.status_code for answer in answers] == [403, 200, 403, 200, 401]
    for scope in (*SCOPES, "nothing"):
        assert key_of(scope) not in caplog.text
        assert not [answer for answer in answers if key_of(scope) in answer.text]
