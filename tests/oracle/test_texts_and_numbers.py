"""The oracle's texts and numbers, compared with a ledger written out by hand and with ClickHouse's JSON texts.

The ledger restates the contract's 4.1, D.16 and D.17.
Limits: chDB accepts one path per process, so `json_value` uses that of the session (tests/conftest.py).
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness import strategies
from tests.harness.oracle_values import extract, number
from tests.oracle.ledger import QUICK, THOROUGH

# --- text and numbers -------------------------------------------------------------------------------------------------

TEXTS = [
    ('{"v": 123}', "$.v", "123"),
    ('{"v": -5}', "$.v", "-5"),
    ('{"v": -0}', "$.v", "0"),
    ('{"v": 1.50}', "$.v", "1.5"),
    ('{"v": 3.0}', "$.v", "3"),
    ('{"v": -0.0}', "$.v", "-0"),
    ('{"v": 1e3}', "$.v", "1000"),
    ('{"v": 1E5}', "$.v", "1e+05"),
    ('{"v": 12e4}', "$.v", "120000"),
    ('{"v": 1e-7}', "$.v", "1e-07"),
    ('{"v": 0.0001}', "$.v", "1e-04"),
    ('{"v": 0.00012}', "$.v", "0.00012"),
    ('{"v": 1e22}', "$.v", "1e+22"),
    ('{"v": 1e-400}', "$.v", "0"),
    ('{"v": 123456789012345680000.0}', "$.v", "123456789012345683968"),
    ('{"v": 0.12345678901234567890}', "$.v", "0.12345678901234568"),
    ('{"v": 123456789.123456789}', "$.v", "123456789.12345679"),
    ('{"v": 123456789012345678901234567890}', "$.v", "123456789012345678901234567890"),
    ('{"v": "0.12345678901234567890"}', "$.v", "0.12345678901234567890"),
    ('{"v": "\\u00fc\\ud83d\\ude00\\n"}', "$.v", "ü😀\n"),
    ('{"v": null}', "$.v", "null"),
    ('{"v": "null"}', "$.v", "null"),
    ('{"v": true}', "$.v", "true"),
    ('{"v": false}', "$.v", "false"),
    ('{"v": ""}', "$.v", ""),
    ('{"v": {"w": 1}}', "$.v", ""),
    ('{"v": [1]}', "$.v", ""),
    ('{"w": 1}', "$.v", ""),
    ('{"v": 1', "$.v", ""),
    ('{"v": 1, "w": 1e400}', "$.v", ""),
    ("null", "$.v", ""),
    ("null", "$", "null"),
    ("", "$.v", ""),
    (None, "$.v", ""),
    (' \n{ "v"\t: 1 } ', "$.v", "1"),
    ('{"v": 1, "v": 2}', "$.v", "1"),
    ('{"\\u0076": 1, "v": 2}', "$.v", "1"),
    ('{"a": 1, "a": {"b": 2}}', "$.a.b", ""),
    ('{"a": {"b": 3}}', "$.a.b", "3"),
    ('{"a": {"b": 3}}', "$['a']['b']", "3"),
    ('{"a": {"b": 3}}', '$["a"].b', "3"),
    ('{"a b": 3}', '$."a b"', "3"),
    ('{"a.b": 3}', "$['a.b']", "3"),
    ('{"a": {"0": 3}}', "$.a.0", "3"),
    ('{"a": [3]}', "$.a.0", ""),
    ('{"1a": 3}', "$.1a", "3"),
    ('{"$a": 3}', "$.$a", "3"),
    ('{"a": [4, 5]}', "$.a[1]", "5"),
    ('{"a": [4, 5]}', "$.a[2]", ""),
    ('{"a": 4}', "$.a[0]", ""),
    ('{"a": 4}', "$.a[*]", ""),
    ('{"a": {"b": 4}}', "$.a[*]", ""),
    ('{"a": [[], {}, 5]}', "$.a[*]", "5"),
    ('{"a": [[], 5, 6]}', "$.a[0 to 2]", "5"),
    ('{"a": [[], [], 6]}', "$.a[0 to 2]", ""),
    ('{"a": [{"b": 1}, {"b": 2}]}', "$.a[*].b", "1"),
    ('{"a": [{"c": 1}, {"b": {}}, {"b": 2}]}', "$.a[*].b", "2"),
    ('{"a": [{"b": null}, {"b": 2}]}', "$.a[*].b", "null"),
    ('{"a": [{"b": ""}, {"b": 2}]}', "$.a[*].b", ""),
    ('{"a": [[], [3, 4]]}', "$.a[*][1]", "4"),
]


@pytest.mark.parametrize(("data", "path", "text"), TEXTS)
def test_text_at_a_path(data: str | None, path: str, text: str) -> None:
    assert extract(data, path) == text


@pytest.mark.parametrize("path", ["", "a", "$a", "$.", "$.a.", "$.a-b", "$..a", "$.*", "$.ä", "$.a[-1]", "$.a[?(@.b)]"])
def test_paths_that_are_refused_have_no_meaning(path: str) -> None:
    with pytest.raises(ValueError):
        extract("{}", path)


NUMBERS = [
    ("1e3", "1000"),
    ("+1", "1"),
    (".5", "0.5"),
    ("5.", "5"),
    ("00012", "12"),
    ("-0", "0"),
    ("-.5e1", "-5"),
    ("1E+05", "100000"),
    ("0e999", "0"),
    ("0.0e-99999999999999999999", "0"),
    ("1e-19", "0.0000000000000000001"),
    ("100e-21", "0.0000000000000000001"),
    ("0.1e38", "10000000000000000000000000000000000000"),
    ("1.1234567890123456789000", "1.1234567890123456789"),
    ("99999999999999999999999999999999999999.9999999999999999999",) * 2,
    ("0" * 5000 + "7", "7"),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_numbers_are_exact(text: str, value: str) -> None:
    assert number(text) == Decimal(value)


NOT_NUMBERS = ["", ".", "-", "+", "e5", ".e5", "1..2", "1e", "1e+", "--1", " 1", "1 ", "1\n", "0x10", "1_000", "1,000"]
NOT_FINITE = ["true", "null", "inf", "-inf", "Infinity", "nan", "NaN", "١", "１"]
TOO_LONG = ["0.1e39", "1e-400", "1e-20", "0." + "1" * 20, "1e38", "-1e38", "9" * 39, "1e400", "1e99999999999999999999"]


@pytest.mark.parametrize("text", [*NOT_NUMBERS, *NOT_FINITE, *TOO_LONG])
def test_anything_else_is_no_value(text: str) -> None:
    assert number(text) is None


# --- the engine's text ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def json_value(data_dir: Path) -> Iterator[Callable[[list[tuple[str, str]]], list[str]]]:
    """Return a function that asks ClickHouse for the texts of (data, path) pairs, many at a time."""
    client = clickhouse_connect.get_client(interface="chdb", path=str(data_dir / "store"))

    def ask(pairs: list[tuple[str, str]]) -> list[str]:
        found: dict[tuple[str, str], str] = {}
        for path in {path for _, path in pairs}:
            texts = [data for data, its_path in pairs if its_path == path]
            answer = client.query(
                "SELECT JSON_VALUE(arrayJoin({texts:Array(String)}), {path:String})",
                parameters={"texts": texts, "path": path},
            )
            found |= {(data, path): row[0] for data, row in zip(texts, answer.result_rows, strict=True)}
        return [found[pair] for pair in pairs]

    yield ask
    client.close()


def test_the_ledger_of_texts_holds_in_the_engine(json_value: Callable[[list[tuple[str, str]]], list[str]]) -> None:
    ledger = [(data or "", path, text) for data, path, text in TEXTS]

    assert json_value([(data, path) for data, path, _ in ledger]) == [text for _, _, text in ledger]


ENGINE = settings(QUICK, max_examples=25 * THOROUGH)


@pytest.mark.long
@ENGINE
@given(literals=st.lists(strategies.number_literals(), min_size=1, max_size=80))
def test_number_literals_read_as_the_engine_reads_them(
    json_value: Callable[[list[tuple[str, str]]], list[str]], literals: list[str]
) -> None:
    pairs = [(f'{{"v":{literal}}}', "$.v") for literal in literals]

    assert [extract(*pair) for pair in pairs] == json_value(pairs)


@pytest.mark.long
@ENGINE
@given(doubles=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=80))
def test_every_double_prints_as_the_engine_prints_it(
    json_value: Callable[[list[tuple[str, str]]], list[str]], doubles: list[float]
) -> None:
    pairs = [(f'{{"v":{double!r}}}', "$.v") for double in doubles]

    assert [extract(*pair) for pair in pairs] == json_value(pairs)


PATHS = st.sampled_from([*strategies.VALUE_PATHS, *strategies.WILDCARD_PATHS, *strategies.DIMENSIONS.values()])


@pytest.mark.long
@ENGINE
@given(pairs=st.lists(st.tuples(strategies.data_texts(), PATHS), min_size=1, max_size=40))
def test_generated_data_read_as_the_engine_reads_it(
    json_value: Callable[[list[tuple[str, str]]], list[str]], pairs: list[tuple[str, str]]
) -> None:
    assert [extract(*pair) for pair in pairs] == json_value(pairs)
