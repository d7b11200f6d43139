"""Valid and invalid requests that are generated from the OpenAPI document, against a running server.

schemathesis generates them: all parameters and body members at and beyond their bounds, then at random. No answer may
be 500 or missing in the document, and no request may be accepted without its credential. METERPORT_TEST_LONG=1
generates many more.
"""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.http.openapi import document
from engine.config.server_settings import ServerSettings
from tests.harness.long_form import LONG
from tests.harness.server import Server

pytestmark = pytest.mark.thorough

KEY = "fuzz-tests-management-key"
MANY_WRONG_KEYS = {"METERPORT_SERVER__WRONG_KEYS_PER_MINUTE": "1000000"}
EXAMPLES = 500 if LONG else 4


def negatable() -> dict[str, Any]:
    """Return the document with filters for which schemathesis can generate invalid values.

    It generates none for a schema that contains itself, and none for objects with fourteen members: so $or is left out.
    $and, whose conditions are checked like those beside it, doubles the number of requests: the long form has it.
    For a parameter that is a JSON text it generates arbitrary texts. Here it is an object that is sent as JSON, which
    is the same for the server.
    """
    copied = copy.deepcopy(document())
    schemas = copied["components"]["schemas"]
    for name in ("TextFilter", "TextSearch", "TimeSearch"):
        whole = {**schemas[name], "type": ["object", "null"]}
        flat = {member: schema for member, schema in whole["properties"].items() if member not in {"$and", "$or"}}
        junction = {"$and": {**whole["properties"]["$and"], "items": {**whole, "properties": flat}}} if LONG else {}
        schemas[name] = {**whole, "properties": {**flat, **junction}}
    schemas["NullableTextFilter"] = schemas["TextFilter"]
    inline = [
        given for path in copied["paths"].values() for item in path.values() for given in item.get("parameters", [])
    ]
    for parameter in (*copied["components"]["parameters"].values(), *inline):
        if "contentSchema" in parameter.get("schema", {}):
            schema = parameter.pop("schema")
            parameter["content"] = {schema["contentMediaType"]: {"schema": schema["contentSchema"]}}
    return copied


METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}
OPERATIONS = [(method, path) for path, item in document()["paths"].items() for method in sorted(METHODS & item.keys())]
SEARCH = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    print_blob=True,
)
# Longer ones have megabytes: each takes a third of a second to be encoded and is refused before any route.
LONGEST_QUERY = 4 * ServerSettings().url_limit_bytes
NO_HTTP = b'"code":"malformed-request"'  # a header name that no parser accepts: the server answers before any route
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    ignored_auth,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    return schemathesis.openapi.from_dict(negatable())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a meter, an event and a subject."""
    running = Server(tmp_path_factory.mktemp("fuzz"), variables={"METERPORT_API_KEY": KEY, **MANY_WRONG_KEYS})
    running.start()
    with httpx.Client(base_url=str(running.url), headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        meter = {"slug": "nope", "eventType": "t", "aggregation": "COUNT", "groupBy": {"model": "$.model"}}
        assert client.post("/api/v1/meters", json=meter).status_code == 201
        event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "subject": "u", "data": {"model": "m"}}
        sent = client.post("/api/v1/events", json=[event])
        assert sent.status_code == 204
    yield running
    assert running.terminate() == 0, running.tail()
    assert b"request_failed" not in running.log.read_bytes()


@pytest.fixture(scope="module")
def credentials(server: Server) -> dict[str, dict[str, str]]:
    """Return the headers that open routes, by the name of the security scheme in the document."""
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    key = {"Authorization": f"Bearer {KEY}"}
    made = httpx.post(
        f"{server.url}/api/v1/portal/tokens", headers=key, json={"subject": "u", "expiresAt": expires_at}
    ).json()
    return {"apiKey": key, "portalToken": {"Authorization": f"Bearer {made['token']}"}}


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Yield what keeps the connection to the server, which each request would otherwise open."""
    with requests.Session() as kept:
        kept.trust_env = False  # looking for a proxy in the environment takes a fifth of a request's time
        yield kept


@pytest.mark.long
@pytest.mark.timeout(3600 if EXAMPLES > 100 else 300)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_whatever_is_sent_is_answered_as_documented(
    schema: BaseSchema,
    method: str,
    path: str,
    server: Server,
    credentials: dict[str, dict[str, str]],
    session: requests.Session,
) -> None:
    """Contract 0."""
    operation = schema[path][method]
    guards = operation.definition.raw.get("security", document()["security"])
    headers = credentials[next(iter(guards[0]))] if guards else {}

    def is_answered_as_documented(case: Any) -> None:
        if len(str(case.query)) > LONGEST_QUERY:
            return
        response = case.call(base_url=server.url, headers=headers, session=session)
        refused_by_size = response.status_code == 413  # schemathesis does not count 413 as a refusal
        checks = [check for check in CHECKS if not (refused_by_size and check is negative_data_rejection)]
        if response.status_code == 414:  # from the server itself, before any route
            assert len(response.request.url) > ServerSettings().url_limit_bytes
        elif NO_HTTP not in response.content:
            case.validate_response(response, checks=checks)

    # Its own decorator would generate the cases when tests are collected, which costs seconds in each worker.
    config = HypothesisTestConfig(project=schema.config, modes=list(HypothesisTestMode), settings=SEARCH)
    create_test(operation=operation, test_func=is_answered_as_documented, config=config)()
