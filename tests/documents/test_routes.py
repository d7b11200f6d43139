"""The documents name exactly the routes that exist, with their guards and answers."""

import re

import pytest
from anyio.from_thread import start_blocking_portal
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Route

from api.app import create_app
from engine.config.api_keys import ApiKey, Scope
from engine.config.settings import Settings
from engine.store.clickhouse import Store
from tests.api.conftest import KEY, MemoryLog, build
from tests.documents.pages import mentioned, plain, route_table
from tests.harness.api_client import ApiClient


@pytest.fixture
def app(store: Store, settings: Settings) -> Starlette:
    """The application with an API key, and one for each scope, over an empty store."""
    scoped = [
        ApiKey.model_validate({"name": scope, "key": f"{KEY}-{scope}", "scopes": [scope]}) for scope in _LIMITED_SCOPES
    ]
    keyed = settings.model_copy(update={"api_key": SecretStr(KEY), "api_keys": scoped})
    return create_app(build(store, keyed, MemoryLog(store, keyed)))


def test_every_route_stands_in_the_table(app: Starlette) -> None:
    documented = [(row[0], plain(row[1])) for row in route_table()]

    assert sorted(documented) == sorted(
        (method, _path(route)) for route in _routes(app) for method in route.methods or () if method != "HEAD"
    )


def test_every_route_is_guarded_and_answers_as_the_table_says(app: Starlette) -> None:
    """The store is empty and no body is sent, so each route answers 200 or one of its errors."""
    with start_blocking_portal() as portal:
        clients = {guard: ApiClient(portal, app, headers) for guard, headers in _CREDENTIALS.items()}
        for method, path, guard, answers, _, _ in route_table():
            url = re.sub(r"{\w+}", "nope", plain(path))
            found = {name: client.request(method, url).status_code for name, client in clients.items()}

            assert (found["nobody"] == 401) is (guard != "open"), (method, path)
            assert (found["key"] == 401) is (guard == "token"), (method, path)
            if guard != "token":
                assert str(found["key"]) in answers.split(", "), (method, path, found)
            if guard not in {"open", "token"}:
                refused = {scope for scope in _LIMITED_SCOPES if found[scope] == 403}
                assert refused == {*_LIMITED_SCOPES} - {guard.removeprefix("key: `").removesuffix("`")}, (method, path)


def test_no_page_names_a_route_that_does_not_exist(app: Starlette) -> None:
    named = set(
        mentioned(r"(?<![\w.}])/(?:api/v\d[\w/{}.-]*|livez|readyz|metrics|version|openapi\.json)\b[^\s`?\"\\]*")
    )
    routes = _routes(app)

    unknown = [
        (page, path)
        for page, path in sorted(named)
        if not any(route.path_regex.match(path) or _path(route) == path for route in routes)
    ]

    assert unknown == []


_LIMITED_SCOPES = [scope.value for scope in Scope if scope is not Scope.ADMIN]
_CREDENTIALS: dict[str, dict[str, str]] = {
    "nobody": {},
    "key": {"Authorization": f"Bearer {KEY}"},
    **{scope: {"Authorization": f"Bearer {KEY}-{scope}"} for scope in _LIMITED_SCOPES},
}


def _routes(app: Starlette) -> list[Route]:
    return [route for route in app.routes if isinstance(route, Route)]


def _path(route: Route) -> str:
    """Return a route's path without the types of its parameters: {subject:path} becomes {subject}."""
    return re.sub(r":\w+}", "}", route.path)
