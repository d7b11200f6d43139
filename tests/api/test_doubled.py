"""A member, header or parameter that occurs twice in a request where one is allowed is refused by name.

Case S13: otherwise one of the two would be lost silently, and not every reader would take the same one.
"""

from urllib.parse import quote

import pytest

from tests.api.conftest import BATCH, SINGLE, MemoryLog
from tests.harness.api_client import ApiClient

EVENT = b'{"specversion":"1.0","id":"1","source":"s","type":"prompt","subject":"acme","data":{"tokens":1,"tokens":2}%b}'
TWICE = b',"subject":"victim"'
JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "kind", "index"),
    [(EVENT % TWICE, SINGLE, 0), (b"[%b,%b]" % (EVENT % b"", EVENT % TWICE), BATCH, 1), (EVENT % TWICE, JSON, 0)],
)
def test_an_event_with_an_attribute_twice_is_refused(
    client: ApiClient, log: MemoryLog, body: bytes, kind: str, index: int
) -> None:
    answer = client.post("/api/v1/events", content=body, headers={"Content-Type": kind})

    assert answer.status_code == 400
    (fault,) = answer.json()["extensions"]["validationErrors"]
    assert (fault["index"], fault["field"], fault["message"]) == (index, "subject", "subject appears twice")
    assert log.values == []


def test_what_is_within_data_is_left_alone(client: ApiClient, log: MemoryLog) -> None:
    answer = client.post("/api/v1/events", content=EVENT % b"", headers={"Content-Type": SINGLE})

    assert (answer.status_code, log.values) == (204, [EVENT % b""])


METER = b'{"slug":"m","eventType":"t","aggregation":"COUNT"%b}'
BODIES = {
    "a token's subject": ("POST", "/api/v1/portal/tokens", b'{"subject":"acme","subject":"victim"}', "subject"),
    "an id to invalidate": ("POST", "/api/v1/portal/tokens/invalidate", b'{"id":null,"id":null}', "id"),
    "a meter's type": ("POST", "/api/v1/meters", METER % b',"eventType":"u"', "eventType"),
    "a meter's key": ("POST", "/api/v1/meters", METER % b',"groupBy":{"a":"$.a","a":"$.b"}', "a"),
    "a meter's change": ("PUT", "/api/v1/meters/tokens_total", b'{"name":"a","name":"b"}', "name"),
    "a subject's name": (
        "POST",
        "/api/v1/subjects",
        b'[{"key":"a","displayName":"A","displayName":"B"}]',
        "displayName",
    ),
    "a subject's metadata": ("POST", "/api/v1/subjects", b'[{"key":"a","metadata":{"x":{"y":1,"y":2}}}]', "y"),
    "a bound of a query": (
        "POST",
        "/api/v1/meters/tokens_total/query",
        b'{"windowSize":"DAY","windowSize":"HOUR"}',
        "windowSize",
    ),
    "a filter of a query": (
        "POST",
        "/api/v1/meters/tokens_total/query",
        b'{"filterGroupBy":{"model":["a"],"model":["b"]}}',
        "model",
    ),
    "a choice of a replay": ("POST", "/api/v1/dead-letters/replay", b'{"all":true,"all":true}', "all"),
    "an event asked about": (
        "POST",
        "/api/v1/events/outcomes",
        b'{"events":[{"source":"a","id":"1","id":"2"}]}',
        "id",
    ),
    "hidden by codes": (
        "POST",
        "/api/v1/portal/tokens",
        b'{"subject":"\\u0022\\u0022\\u0022\\u0022","subject":"victim"}',
        "subject",
    ),
}


@pytest.mark.parametrize(("method", "url", "body", "name"), BODIES.values(), ids=BODIES)
def test_a_body_with_a_member_twice_is_refused(still: ApiClient, method: str, url: str, body: bytes, name: str) -> None:
    answer = still.request(method, url, content=body, headers={"Content-Type": JSON})

    assert answer.status_code == 400
    assert answer.json()["detail"] == f'invalid request body: member "{name}" appears twice'


@pytest.mark.parametrize(
    ("url", "parameter"),
    [
        ("/api/v1/meters/tokens_total/query", "advancedMeterGroupByFilters"),
        ("/api/v2/events", "filter"),
    ],
)
def test_json_in_a_parameter_with_a_member_twice_is_refused(still: ApiClient, url: str, parameter: str) -> None:
    twice = quote('{"a":{"$eq":"x","$eq":"y"}}')

    answer = still.get(f"{url}?{parameter}={twice}")

    assert answer.status_code == 400
    assert answer.json()["detail"] == f'invalid param format from: {parameter}: member "$eq" appears twice'


@pytest.mark.parametrize(
    ("url", "body", "kind"),
    [("/api/v1/portal/tokens", b'{"subject":"a"}', JSON), ("/api/v1/events", EVENT % b"", SINGLE)],
)
def test_two_content_types_are_one_too_many(still: ApiClient, url: str, body: bytes, kind: str) -> None:
    answer = still.post(url, content=body, headers=[("Content-Type", kind), ("Content-Type", "text/plain")])

    assert answer.status_code == 400
    assert answer.json()["detail"] == "header content-type appears twice"
