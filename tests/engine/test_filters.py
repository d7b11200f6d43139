"""Filters of texts and times: what each operator accepts, nesting, and refusals. Operands never become SQL."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from engine.errors import InvalidRequest
from engine.filters import MAX_OPERATORS, Allowance, Bindings, condition, text_filter, time_filter
from engine.store.clickhouse import Store
from tests.harness.long_form import LONG

EXAMPLES = 3000 if LONG else 80
TEXTS = ["", "null", "a", "A", "ab", "aB", "b", "a%", "a_", "a\\", "%", "é", "É", "1", "10", "9", "a\nb", "' OR 1=1 --"]


def passing(store: Store, body: object, texts: list[str]) -> list[str]:
    """Return the texts that a filter accepts in ClickHouse."""
    filter_, bindings = text_filter(body, Allowance()), Bindings("f")
    where = condition(filter_, "item", bindings) if filter_ else "true"
    statement = f"SELECT item FROM (SELECT arrayJoin({{texts:Array(String)}}) AS item) WHERE {where}"
    return [row[0] for row in store.rows(statement, texts=texts, **bindings.values)]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"$eq": "a"}, ["a"]),
        ({"$ne": "a"}, [text for text in TEXTS if text != "a"]),
        ({"$in": ["a", "b", "nobody"]}, ["a", "b"]),
        ({"$in": []}, []),
        ({"$nin": ["a", "b"]}, [text for text in TEXTS if text not in {"a", "b"}]),
        ({"$nin": []}, TEXTS),
        ({"$like": "a%"}, ["a", "ab", "aB", "a%", "a_", "a\\", "a\nb"]),
        ({"$like": "a_"}, ["ab", "aB", "a%", "a_", "a\\"]),
        ({"$like": "a\\_"}, ["a_"]),
        ({"$like": "a\\%"}, ["a%"]),
        ({"$like": "a\\\\"}, ["a\\"]),
        ({"$like": "_"}, ["a", "A", "b", "%", "é", "É", "1", "9"]),
        ({"$nlike": "%a%"}, ["", "null", "A", "b", "%", "é", "É", "1", "10", "9", "' OR 1=1 --"]),
        ({"$ilike": "A"}, ["a", "A"]),
        ({"$ilike": "É"}, ["é", "É"]),
        ({"$nilike": "%A%"}, ["", "null", "b", "%", "é", "É", "1", "10", "9", "' OR 1=1 --"]),
        ({"$gt": "a_"}, ["ab", "b", "null", "é", "É"]),
        ({"$gte": "10"}, [text for text in TEXTS if text >= "10"]),
        ({"$lt": "10"}, ["", "%", "1", "' OR 1=1 --"]),
        ({"$lte": "10"}, ["", "%", "1", "10", "' OR 1=1 --"]),
        ({"$and": [{"$like": "a%"}, {"$ne": "a"}, {"$lt": "a]"}]}, ["aB", "a%", "a\\", "a\nb"]),
        ({"$or": [{"$eq": "a"}, {"$and": [{"$gte": "1"}, {"$lte": "10"}]}]}, ["a", "1", "10"]),
        ({}, TEXTS),
        ({"$and": []}, TEXTS),
        ({"$or": []}, TEXTS),
        ({"$or": [{}, {"$and": [{}]}]}, TEXTS),
        ({"$or": [{}, {"$eq": "a"}]}, ["a"]),
        (None, TEXTS),
        ({"$or": [None, {"$eq": "a"}]}, ["a"]),
        ({"$eq": None, "$ne": None, "$in": ["a"]}, ["a"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_operator_lets_these_through(store: Store, body: object, found: list[str]) -> None:
    """Contract 2.3."""
    assert sorted(passing(store, body, TEXTS)) == sorted(found)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"$eq": "a", "$ne": "b"}, "filter is invalid: multiple operators are set"),
        ({"$and": [{"$eq": "a", "$ne": "b"}]}, "filter is invalid: multiple operators are set"),
        ({"$eq": ""}, "filter is invalid: format mismatch"),
        ({"$in": ["a", ""]}, "filter is invalid: format mismatch"),
        ({"$like": ""}, "filter is invalid: format mismatch"),
        ({"$or": [{"$gt": ""}]}, "filter is invalid: format mismatch"),
        ({"$regex": "a"}, "filter is invalid: unknown operator $regex"),
        ({"$EQ": "a"}, "filter is invalid: unknown operator $EQ"),
        ({"$exists": True}, "filter is invalid: unknown operator $exists"),
        ({"$eq": 1}, "filter is invalid: $eq must be a string"),
        ({"$eq": ["a"]}, "filter is invalid: $eq must be a string"),
        ({"$in": "a"}, "filter is invalid: $in must be a list of strings"),
        ({"$in": [None]}, "filter is invalid: $in must be a string"),
        ({"$and": {"$eq": "a"}}, "filter is invalid: $and must be a list"),
        ({"$and": ["a"]}, "filter is invalid: must be an object"),
        ("a", "filter is invalid: must be an object"),
        (["a"], "filter is invalid: must be an object"),
        ({"$like": "a\\"}, "filter is invalid: $like ends with an unfinished escape"),
        ({"$nilike": "%" * 2049}, "filter is invalid: $nilike is longer than 2048 characters"),
        ({"$or": [{"$eq": "a"}] * 200}, "filter complexity exceeds 200 operators"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_filter_is_told(body: object, problem: str) -> None:
    """Contract 2.3, D.24."""
    with pytest.raises(InvalidRequest) as caught:
        text_filter(body, Allowance())

    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("bodies", "problem"),
    [
        ([{"$or": [{"$eq": "a"}] * 99}] * 2, None),
        ([{"$or": [{"$eq": "a"}] * 99}, {"$or": [{"$eq": "a"}] * 100}], "filter complexity exceeds 200 operators"),
        ([{"$like": "%" * 2048}, {"$nilike": "%" * 2048}, {"$eq": "%" * 2048}], None),
        (
            [{"$or": [{"$like": "_" * 2048}, {"$nlike": "_" * 2047}]}, {"$ilike": "%%"}],
            "filter complexity exceeds 4096 characters of patterns",
        ),
    ],
    ids=["200 operators", "201 operators", "4096 characters", "4097 characters"],
)
def test_the_filters_of_a_request_are_bounded_together(bodies: list[object], problem: str | None) -> None:
    """Contract 2.3, D.11."""
    allowance = Allowance()
    try:
        for body in bodies:
            text_filter(body, allowance)
    except InvalidRequest as error:
        assert str(error) == problem
    else:
        assert problem is None


def test_filters_nest_as_deep_as_there_may_be_operators(store: Store) -> None:
    """Contract 2.3: meter queries have no other limit on depth, and ClickHouse parses the deepest."""
    body: dict[str, Any] = {"$eq": "a"}
    for level in range((MAX_OPERATORS - 1) // 2):
        body = {"$or" if level % 2 else "$and": [body, {"$ne": "b"}]}

    assert passing(store, body, ["a", "b", "c"]) == ["a", "c"]


def test_a_depth_may_be_given() -> None:
    """Contract 3.2."""
    text_filter({"$and": [{"$eq": "a"}, {"$ne": "b"}]}, Allowance(), depth=1)

    with pytest.raises(InvalidRequest, match="filter complexity exceeds maximum allowed depth"):
        text_filter({"$and": [{"$or": [{"$eq": "a"}]}]}, Allowance(), depth=1)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"$gt": "2025-01-01T00:00:00.001Z"}, [2]),
        ({"$gt": "2025-01-01T00:00:00.0005Z"}, [1, 2]),
        ({"$gte": "2025-01-01T00:00:00.0005Z"}, [1, 2]),
        ({"$lt": "2025-01-01T00:00:00.0005Z"}, [0]),
        ({"$lte": "2025-01-01T00:00:00.0005Z"}, [0]),
        ({"$lte": "2025-01-01T01:00:00.001+01:00"}, [0, 1]),
        ({"$and": [{"$gt": "2025-01-01T00:00:00Z"}, {"$lt": "2025-01-01T00:00:00.002Z"}]}, [1]),
        ({"$gt": "0001-01-01T00:00:00Z"}, [0, 1, 2]),
        ({"$lt": "9999-12-31T23:59:59Z"}, [0, 1, 2]),
        ({"$gt": "9999-12-31T23:59:59Z"}, []),
    ],
)
def test_times_are_compared_finer_than_they_are_kept(store: Store, body: object, found: list[int]) -> None:
    """Contract 3.2, D.6."""
    filter_, bindings = time_filter(body, Allowance()), Bindings("f")
    assert filter_ is not None

    statement = (
        "SELECT number FROM (SELECT number, fromUnixTimestamp64Milli(1735689600000 + number, 'UTC') AS at "
        f"FROM numbers(3)) WHERE {condition(filter_, 'at', bindings)} ORDER BY number"
    )

    assert [row[0] for row in store.rows(statement, **bindings.values)] == found


@pytest.mark.parametrize("body", [{"$eq": "2025-01-01T00:00:00Z"}, {"$gt": "2025-01-01"}, {"$gt": 1}, {"$gt": ""}])
def test_a_wrong_time_is_refused(body: object) -> None:
    """Contract 3.2."""
    with pytest.raises(InvalidRequest, match="filter is invalid: "):
        time_filter(body, Allowance())


_texts = st.text(st.sampled_from("aAbB%_\\'\"é{}\n0 "), max_size=5)
_operands = _texts.filter(bool)
_leaves = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), _operands),
    st.tuples(
        st.sampled_from(["$like", "$nlike", "$ilike", "$nilike"]),
        _operands.filter(lambda text: (len(text) - len(text.rstrip("\\"))) % 2 == 0),
    ),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(_operands, max_size=3)),
).map(lambda pair: {pair[0]: pair[1]})
_filters = st.recursive(
    _leaves | st.just({}),
    lambda inner: st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, max_size=3)).map(
        lambda pair: {pair[0]: pair[1]}
    ),
    max_leaves=8,
)


def like(pattern: str, text: str) -> bool:
    """Evaluate LIKE: a backslash before %, _ or a backslash escapes it; before other characters it is a backslash."""
    parts = re.findall(r"\\[%_\\]|.", pattern, re.DOTALL)
    expression = "".join(
        {"%": ".*", "_": "."}.get(part, re.escape(part[1:] if len(part) == 2 else part)) for part in parts
    )
    return re.fullmatch(expression, text, re.DOTALL) is not None


def lets_through(body: dict[str, Any], text: str) -> bool | None:
    """Evaluate a filter in plain Python. None: it does not filter."""
    if not body:
        return None
    ((operator, operand),) = body.items()
    match operator:
        case "$and" | "$or":
            parts = [part for item in operand if (part := lets_through(item, text)) is not None]
            return (all(parts) if operator == "$and" else any(parts)) if parts else None
        case "$in" | "$nin":
            return (text in operand) is (operator == "$in")
        case "$like" | "$nlike":
            return like(operand, text) is (operator == "$like")
        case "$ilike" | "$nilike":
            return like(operand.lower(), text.lower()) is (operator == "$ilike")
        case "$eq" | "$ne":
            return (text == operand) is (operator == "$eq")
        case "$gt" | "$lte":
            return (text > operand) is (operator == "$gt")
    return (text < operand) is (operator == "$lt")


@effort(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(body=_filters, texts=st.lists(_texts, min_size=1, max_size=8))
def test_every_filter_means_the_same_to_the_engine(store: Store, body: dict[str, Any], texts: list[str]) -> None:
    expected = [text for text in texts if lets_through(body, text) is not False]

    assert sorted(passing(store, body, texts)) == sorted(expected)
