"""What a path finds in the data of an event, and that no path takes too long."""

import pytest

from engine.meters.jsonpath import SHORT_DATA_BYTES, json_expression
from engine.store.clickhouse import Store

LONG = f'"filler":"{"x" * SHORT_DATA_BYTES}"'
SHORT = '"filler":""'


def read(store: Store, path: str, data: str, function: str = "JSON_VALUE") -> str:
    expression = json_expression(path, function)  # type: ignore[arg-type]
    text: str = store.rows(f"SELECT {expression} FROM (SELECT {{data:String}} AS data)", data=data)[0][0]
    return text


def items(count: int, last: str, filler: str) -> str:
    """Return data with an array of `count` empty objects and one more object."""
    return f'{{{filler},"items":[{"{}," * count}{last}]}}'


@pytest.mark.parametrize("filler", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize(
    ("path", "data", "text"),
    [
        ("$.a", '"a":1.50', "1.5"),
        ("$.a[*]", '"a":[1,2]', "1"),
        ("$.a[ * ].b", '"a":[{},{"b":[1]},{"b":"x"}]', "x"),
        ("$.a[*].b[*].c", '"a":[{},{"b":[{},{"c":7}]}]', "7"),
        ("$.a[*][1]", '"a":[[1],[1,2]]', "2"),
        ("$.a[1, 3 to 5][*]", '"a":[[1],[],[2],[],[5]]', "5"),
        ("$.a[1, 3 to 4][*]", '"a":[[1],[],[2],[],[5]]', ""),
        ("$['[*]'].a[*]", '"[*]":{"a":[4]}', "4"),
        ('$."it\'s [*]"[*]', '"it\'s [*]":["y"]', "y"),
        ("$['b]'].a[*]", '"b]":{"a":[4]}', "4"),
        ("$.a[*]", '"a":{"b":1}', ""),
    ],
)
def test_the_first_scalar_a_path_matches_is_read(store: Store, path: str, data: str, text: str, filler: str) -> None:
    assert read(store, path, f"{{{data},{filler}}}") == text


@pytest.mark.parametrize(
    ("path", "elements"), [("$.items[*].price", 1000), ("$['items'][*]['price']", 1000), ("$.items[*].prices[*]", 31)]
)
def test_in_long_data_wildcards_look_at_the_first_elements_alone(store: Store, path: str, elements: int) -> None:
    """ClickHouse walks an array again for each element. Before, an array of a million without a price took hours."""
    found = '{"price":5,"prices":[5]}'

    assert read(store, path, items(elements - 1, found, LONG)) == "5"
    assert read(store, path, items(elements, found, LONG)) == ""
    assert read(store, path, items(elements, found, LONG), "JSON_QUERY") == ""


def test_data_that_is_short_is_looked_through_to_its_end(store: Store) -> None:
    data = items(600, '{"price":5}', SHORT)

    assert len(data) < SHORT_DATA_BYTES
    assert read(store, "$.items[*].price", data) == "5"
    assert read(store, "$.items[*].prices[*]", items(600, '{"prices":[5]}', SHORT)) == "5"
