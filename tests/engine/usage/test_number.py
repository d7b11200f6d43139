"""The number of a text, as ClickHouse reads it: compared with written-out results and with Python's exact decimals.

Contract 4.1, D.16.
"""

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engine.store import sql
from engine.store.clickhouse import Store
from tests.harness import oracle_values

NINES = "9" * 38 + "." + "9" * 19


def numbers(store: Store, texts: Sequence[str]) -> dict[str, str | None]:
    """Return the number of each text, printed by ClickHouse without trailing zeros."""
    number = sql.statement("usage/number", text="text")
    rows = store.rows(
        f"SELECT text, toString({number}) FROM (SELECT arrayJoin({{texts:Array(String)}}) AS text) "
        "SETTINGS output_format_decimal_trailing_zeros = 0",
        texts=list(texts),
    )
    return dict(rows)


TABLE: dict[str, str | None] = {
    # plain
    **{"0": "0", "1": "1", "-1": "-1", "+1": "1", "-0": "0", "00012": "12", "1.50": "1.5", "-0.0": "0"},
    **{".5": "0.5", "-.5": "-0.5", "+.5": "0.5", "5.": "5", "0.1": "0.1", "-12.25": "-12.25", "000.000": "0"},
    # exponents
    **{"1e3": "1000", "1E+05": "100000", "-1.5e2": "-150", "1e-7": "0.0000001", ".5e1": "5", "5.e1": "50"},
    **{"1e0": "1", "1e-0": "1", "1e+0": "1", "1e00003": "1000", "12e-1": "1.2", "-.5e1": "-5", "0.00100e2": "0.1"},
    **{"0e999": "0", "0e-999": "0", "0e99999999999999999999": "0", "-0e-99999999999999999999": "0"},
    # the limits: 38 integer digits, 19 fraction digits
    **{"9" * 38: "9" * 38, "-" + "9" * 38: "-" + "9" * 38, "1" + "0" * 37: "1" + "0" * 37},
    **{"9" * 39: None, "1" + "0" * 38: None, "0" * 50 + "9" * 38: "9" * 38, "0" * 50 + "1": "1"},
    **{"0." + "9" * 19: "0." + "9" * 19, "0." + "9" * 20: None, "0." + "0" * 18 + "1": "0." + "0" * 18 + "1"},
    **{"0." + "0" * 19 + "1": None, "0.1" + "0" * 60: "0.1", "0." + "1" * 19 + "000": "0." + "1" * 19},
    **{NINES: NINES, "-" + NINES: "-" + NINES, NINES + "0": NINES, NINES + "1": None, "9" + NINES: None},
    **{"1e37": "1" + "0" * 37, "1e38": None, "0.1e38": "1" + "0" * 37, "0.1e39": None, "10e37": None, "-1e38": None},
    **{"1e-19": "0." + "0" * 18 + "1", "1e-20": None, "10e-20": "0." + "0" * 18 + "1", "15e-20": None},
    **{"9" * 57 + "e-19": NINES, "9" * 58 + "e-19": None, "9" * 57 + "e-20": None, "1e400": None, "1e-400": None},
    **{"1" + "0" * 100 + "e-100": "1", "0." + "0" * 100 + "1e101": "1", "1e999999999999999999999": None},
    **{"1e-999999999999999999999": None, "1e9223372036854775808": None, "1e0000000000000000000000000000001": "10"},
    # not numbers
    **dict.fromkeys(["", "-", "+", ".", "e", "e5", "1e", "1e+", "-.e1", ".e1", "--1", "+-1", "1..2", "1.2.3", "1e2e3"]),
    **dict.fromkeys(["1e2.5", "0x10", "1_000", "1,000", " 1", "1 ", "1\n", "\n1", "1\0", "\t1", "1 000", "1a", "a1"]),
    **dict.fromkeys(["inf", "-inf", "Infinity", "nan", "NaN", "null", "true", "½", "١", "１", "1．5", "−1", "1e５"]),
}


def test_a_text_stands_for_its_exact_number_or_none(bare_store: Store) -> None:
    found = numbers(bare_store, list(TABLE))

    assert {text: number for text, number in found.items() if number != TABLE[text]} == {}
    assert len(found) == len(TABLE)


def test_the_table_agrees_with_the_fold() -> None:
    assert {text: oracle_values.number(text) for text in TABLE} == {
        text: None if number is None else Decimal(number) for text, number in TABLE.items()
    }


DIGITS = st.text("0123456789", max_size=45)
ZEROS = st.integers(0, 45).map(lambda count: "0" * count)
NUMBERLIKE = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["", "", "-", "+"]),
    ZEROS | st.just(""),
    DIGITS,
    st.sampled_from(["", ".", "."]),
    ZEROS | st.just(""),
    DIGITS,
    ZEROS | st.just(""),
    st.just("") | st.builds(lambda mark, size: f"{mark}{size}", st.sampled_from("eE"), st.integers(-120, 120)),
)
NEARLY = st.text("0123456789+-.eE \n", max_size=12)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


# Phase.shrink is left out, because it is slow for lists.
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(texts=st.lists(NUMBERLIKE | NEARLY | ANYTHING, min_size=50, max_size=300, unique=True))
def test_the_engine_reads_every_text_as_exact_decimals_do(bare_store: Store, texts: list[str]) -> None:
    found = numbers(bare_store, texts)

    expected = {text: oracle_values.number(text) for text in texts}
    assert {text: None if number is None else Decimal(number) for text, number in found.items()} == expected
