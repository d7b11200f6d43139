"""The OpenAPI document equals the table of routes, and the application answers as the document says."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from schemathesis.core.failures import Failure, FailureGroup
from starlette.applications import Starlette
from starlette.routing import Route

from api.http.openapi import document, documented_path, known_parameters
from tests.harness.api_client import DOCUMENT, ApiClient, check

Token = Callable[..., dict[str, str]]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return each method, path and operation of the document."""
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def filled(path: str) -> str:
    """Return a path of the document, filled with names that are not in the store."""
    return re.sub(r"{(\w+)}", "nope", path)


def test_the_document_is_served_and_is_openapi_3_1(stranger: ApiClient) -> None:
    """D.15, D.21: open to everyone."""
    answer = stranger.get("/openapi.json")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == document()
    assert answer.json()["openapi"].startswith("3.1.")
    DOCUMENT.validate()


def test_every_route_is_in_the_document_and_nothing_else(still_app: Starlette) -> None:
    """D.15: paths and methods."""
    routes = {
        (method, documented_path(route.path))
        for route in still_app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }

    assert {(method, path) for method, path, _ in operations()} == routes


def test_the_parameters_of_a_path_are_those_of_its_operations() -> None:
    """D.15."""
    for method, path, _ in operations():
        declared = [parameter.name for parameter in DOCUMENT[path][method].path_parameters]

        assert sorted(declared) == sorted(re.findall(r"{(\w+)}", path)), (method, path)


def test_every_documented_parameter_is_one_the_route_knows(
    still: ApiClient, stranger: ApiClient, still_token: Token
) -> None:
    """D.15, D.8: in another case it is refused by name. A route that reads an undocumented name fails here."""
    mine = still_token("customer-1")
    for method, path, operation in operations():
        names = {name for kind in known_parameters(path, method) for name in kind}
        for name in names:
            wrong = f"{filled(path)}?{name.upper()}=x"
            client, headers = (stranger, mine) if guard(operation) == "portalToken" else (still, {})

            answer = client.request(method, wrong, headers=headers)

            assert answer.status_code == 400, (method, path, name)
            assert answer.json()["detail"] == f'parameter "{name.upper()}" is unknown, did you mean "{name}"?'


def test_every_route_is_guarded_as_the_document_says(still: ApiClient, stranger: ApiClient, still_token: Token) -> None:
    """D.1, D.15, D.21."""
    mine = still_token("customer-1")
    for method, path, operation in operations():
        url, wanted = filled(path), guard(operation)
        if wanted == "apiKey" and method in {"POST", "PUT", "DELETE"}:
            accepted = still.request(method, url, content=b"-")  # changes nothing
        else:
            accepted = (still if wanted == "apiKey" else stranger).request(
                method, url, headers=mine if wanted == "portalToken" else {}
            )
        refused = {
            "nobody": stranger.request(method, url).status_code == 401,
            "key": still.request(method, url, content=b"-").status_code == 401,
            "token": stranger.request(method, url, headers=mine).status_code == 401,
        }

        assert accepted.status_code != 401, (method, path)
        assert refused == {
            "nobody": wanted != "nobody",
            "key": wanted == "portalToken",
            "token": wanted == "apiKey",
        }, (method, path)


def guard(operation: dict[str, Any]) -> str:
    security = operation.get("security", document()["security"])
    return next(iter(security[0])) if security else "nobody"


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(names) == len(set(names))


def test_the_first_type_of_a_body_takes_all_that_the_others_take() -> None:
    """C5: code generators that support only one body type take the first one, but the schemas of all."""
    content = document()["paths"]["/api/v1/events"]["post"]["requestBody"]["content"]
    first, *others = [[kind.get("type", "event") for kind in of(media["schema"])] for media in content.values()]

    assert next(iter(content)) == "application/json"
    assert (sorted(first), sorted(others)) == (["array", "event"], [["array"], ["event"]])


def of(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alternative schemas of a value."""
    return list(schema.get("anyOf", [schema]))


USAGE_PATH = "/api/v1/meters/{meter}/query"
USAGE = b'{"data":[{"value":1,"windowStart":"2025-01-01T00:00:00Z","windowEnd":"2025-01-02T00:00:00Z",%b"groupBy":{}}]}'


@pytest.mark.parametrize(
    ("status", "kind", "headers", "body"),
    [
        (200, "application/json", {}, USAGE % b'"subject":null,'),
        (200, "application/json", {"X-Meterport-Grains": "raw"}, USAGE % b""),
        (200, "application/json", {"X-Meterport-Grains": "raw"}, USAGE % b'"subject":null,"more":1,'),
        (200, "text/plain", {"X-Meterport-Grains": "raw"}, USAGE % b'"subject":null,'),
        (202, "application/json", {"X-Meterport-Grains": "raw"}, USAGE % b'"subject":null,'),
        (404, "application/json", {}, b"{}"),
        (503, "application/problem+json", {}, b"{}"),
    ],
    ids=["header", "member missing", "member too many", "media type", "status", "problem type", "problem"],
)
def test_an_answer_that_is_not_in_the_document_is_noticed(
    status: int, kind: str, headers: dict[str, str], body: bytes
) -> None:
    """The check that tests/harness/api_client.py makes of every answer must be able to fail."""

    def answer(status: int, kind: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        request = httpx.Request("GET", "http://meterport/api/v1/meters/m/query")
        return httpx.Response(status, headers={"Content-Type": kind, **headers}, content=body, request=request)

    with pytest.raises((Failure, FailureGroup)):
        check("GET", USAGE_PATH, answer(status, kind, headers, body))
    check("GET", USAGE_PATH, answer(200, "application/json", {"X-Meterport-Grains": "raw"}, USAGE % b'"subject":null,'))


@pytest.mark.parametrize(
    ("name", "valid", "taken"),
    [
        ("TextFilters", {"model": None}, True),
        ("TextFilters", {"model": {"$and": [None, {}]}}, True),
        ("TextFilters", {"model": {"$or": [{"$and": [{"$eq": "a"}]}]}}, True),
        ("TextFilters", {"model": {"$eq": "a", "$ne": "b"}}, False),
        ("TextFilters", {"model": {"$in": ["a"] * 1001}}, False),
        ("EventSearch", {"type": None, "time": None}, True),
        (
            "EventSearch",
            {"type": {"$or": [{"$eq": "a"}, None]}, "time": {"$and": [{"$gt": "2025-01-01T00:00:00Z"}]}},
            True,
        ),
        ("EventSearch", {"type": {"$or": [{"$and": [{"$eq": "a"}]}]}}, False),
        ("EventSearch", {"time": {"$or": [{"$and": []}]}}, False),
    ],
    ids=repr,
)
def test_filters_are_taken_where_the_document_has_them(
    still: ApiClient, name: str, valid: dict[str, object], taken: bool
) -> None:
    """Contract 2.3, 3.2, D.15."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    told = json.dumps(valid)
    if name == "EventSearch":
        answer = still.get("/api/v2/events", params={"filter": told})
    else:
        answer = still.post(USAGE_PATH.replace("{meter}", "tokens_total"), json={"advancedMeterGroupByFilters": valid})

    assert jsonschema_rs.Draft202012Validator(schema).is_valid(valid) is taken
    assert answer.status_code == (200 if taken else 400), answer.text
