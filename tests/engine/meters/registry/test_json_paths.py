"""Which JSON paths make a meter, and which are refused and leave nothing behind."""

from datetime import timedelta

import pytest

from engine.errors import InvalidMeter
from engine.meters.definition import parse_definition
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from tests.engine.meters.registry.one_meter import NOON, SUM, put, rollups

ACCEPTED = [
    *("$", "$.a", "$.a.b", "$['a']", '$["a"]', '$."a b"', "$.a_b", "$.1a", "$.$a", "$.a.0", "$.a[0]", "$.a[*]", "$[*]"),
    *("$.a[0 to 1]", "$['it\\'s']", "$['{x:String}']", "$['%s']"),
    *("$.a[0 to 1000]", "$[0, 5 to 9]['b']", "$['it\\'s [0 to 5000]']", '$."[x]"[999999999]'),
]
REFUSED = ["$.", "$a", "$.a.", "$..a", "$.*", "$.a[?(@.b)]", "$'; DROP TABLE x; --"]
QUOTABLE = {
    "$.a-b": "$['a-b']",
    "$.a b": "$['a b']",
    "$.ä": "$['ä']",
    "$.@type": "$['@type']",
    "$.usage.prompt tokens": "$.usage['prompt tokens']",
    "$.lineItem/UsageAmount[0].x:y.z": "$['lineItem/UsageAmount'][0]['x:y'].z",
    "$.cost, total": "$['cost, total']",
}


def test_every_json_path_the_contract_names_makes_a_meter(store: Store, registry: MeterRegistry) -> None:
    for number, path in enumerate(ACCEPTED):
        body = SUM | {"slug": f"m{number}", "valueProperty": path, "groupBy": {"k": "$.k"}}
        registry.create(parse_definition(body))
    put(store, 1, 1, NOON + timedelta(days=1))

    assert len(registry.all()) == len(ACCEPTED)
    assert store.rows("SELECT count() FROM events") == [(1,)]  # no view raises an error


@pytest.mark.parametrize("where", ["valueProperty", "groupBy"])
def test_a_path_the_engine_does_not_take_is_refused_and_leaves_nothing(
    store: Store, registry: MeterRegistry, where: str
) -> None:
    for path in REFUSED:
        body = SUM | ({"valueProperty": path} if where == "valueProperty" else {"groupBy": {"k": path}})

        with pytest.raises(InvalidMeter) as refused:
            registry.create(parse_definition(body))

        assert str(refused.value) == f"invalid JSONPath: {path}"
    assert (registry.all(), rollups(store)) == ([], set())


def test_a_path_whose_names_lack_quotes_is_refused_with_the_path_to_write(
    store: Store, registry: MeterRegistry
) -> None:
    """N32: the proposed path counts what the user meant."""
    for path, proposed in QUOTABLE.items():
        with pytest.raises(InvalidMeter) as refused:
            registry.create(parse_definition(SUM | {"valueProperty": path}))

        assert str(refused.value) == f"invalid JSONPath: {path}; write {proposed}"
    data = '{"usage":{"prompt tokens":7},"lineItem/UsageAmount":[{"x:y":{"z":8}}]}'
    proposals = [proposed for proposed in QUOTABLE.values() if proposed.startswith(("$.usage", "$['lineItem"))]
    rows = [store.rows(f"SELECT JSON_VALUE({{data:String}}, '{text}')", data=data) for text in map(_quoted, proposals)]
    assert rows == [[("7",)], [("8",)]]


def _quoted(path: str) -> str:
    return path.replace("'", "\\'")


@pytest.mark.parametrize(
    "path",
    [
        *("$.a[0 to 4000000000].b", "$.a[0 to 1001]", "$.a[0 TO 1000, 2000]", "$.a[0 to 39][0 to 39]"),
        *("$.a[4294967296]", "$.a[0x10]"),
    ],
)
def test_a_path_whose_indexes_would_hold_up_ingest_or_wrap_around_is_refused(
    registry: MeterRegistry, path: str
) -> None:
    with pytest.raises(InvalidMeter, match="invalid JSONPath"):
        registry.create(parse_definition(SUM | {"valueProperty": path}))

    assert registry.all() == []


@pytest.mark.parametrize("path", ["", "abc", "a.b"])
def test_a_path_that_does_not_start_with_the_root_is_no_definition(path: str) -> None:
    with pytest.raises(InvalidMeter):
        parse_definition(SUM | {"valueProperty": path})
