"""A rollup gives the same usage as the events, and the answer says which of them it used."""

import time
from urllib.parse import parse_qsl

import orjson
import pytest

from api.dependencies import Dependencies
from engine.meters.fill import Filler
from engine.meters.meter import MeterState
from engine.meters.registry import MeterRegistry
from engine.metrics import REGISTRY
from tests.api.conftest import QUERY
from tests.api.usage.conftest import JANUARY
from tests.harness.api_client import ApiClient
from tests.harness.no_ingest import NoIngest

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
@pytest.mark.parametrize("size", ["DAY", "MINUTE", None])
@pytest.mark.parametrize("subjects", [None, ["customer-1"], ["customer-1", "customer-2"]])
def test_the_largest_groups_are_the_same_from_events_and_rollups(
    client: ApiClient, dependencies: Dependencies, size: str | None, subjects: list[str] | None
) -> None:
    asked = {**dict(parse_qsl(JANUARY)), "windowSize": size, "groupBy": ["type", "model"], "maxGroups": 2}
    body = {key: value for key, value in {**asked, "subjects": subjects}.items() if value is not None}

    from_events = client.post(QUERY, json=body)
    fill(dependencies)
    from_rollups = client.post(QUERY, json=body)

    assert from_events.status_code == 200
    assert from_rollups.content == from_events.content
    assert from_rollups.headers["x-meterport-grains"] != "raw"


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
