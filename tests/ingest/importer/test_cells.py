"""The exact text of a cell is its value, but blanks around the names of columns are removed."""

from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InvalidRequest
from engine.store.clickhouse import Store
from ingest.importer.cells import guessed_literal
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from tests.harness.command import meterport
from tests.harness.long_form import LONG

USE = ColumnMapping(type="use", subject="column:who", time="column:ts")
CELLS = st.one_of(
    st.from_regex(r"\A[+-]?[0-9]{0,17}(\.[0-9]{0,8})?([eE][+-]?[0-9]{1,3})?\Z"),
    st.from_regex(r"\A-?0\.0{0,8}[0-9]{1,9}\Z"),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
)


def data_of(path: Path, mapping: ColumnMapping) -> list[dict[str, object]]:
    return [
        orjson.loads(row.event)["data"] for row in EventFile(path, None, mapping).read() if isinstance(row.event, bytes)
    ]


@settings(max_examples=100 if LONG else 20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cells=st.lists(CELLS.filter(bool), min_size=50, max_size=100))
def test_meters_read_of_a_cell_what_stands_in_the_file(store: Store, cells: list[str]) -> None:
    """N7: ClickHouse itself reads the values here, as for meters and group-bys."""
    documents = [f'{{"n":{guessed_literal(cell)}}}' for cell in cells]

    rows = store.rows("SELECT JSON_VALUE(arrayJoin({documents:Array(String)}), '$.n')", documents=documents)

    assert [text for (text,) in rows] == cells


def test_columns_can_be_kept_as_text(tmp_path: Path) -> None:
    """N7: `--text`, for CSV and for typed columns of Parquet."""
    (tmp_path / "e.csv").write_text("ts,who,zip,n\n2026-11-01,a,10115,1\n2026-11-01,a,,2\n")
    table = pa.table({"ts": ["2026-11-01"], "who": ["a"], "zip": [10115], "n": [1]})
    pq.write_table(table, tmp_path / "e.parquet")
    mapping = replace(USE, text=("zip",))

    assert data_of(tmp_path / "e.csv", mapping) == [{"zip": "10115", "n": 1}, {"n": 2}]
    assert data_of(tmp_path / "e.parquet", mapping) == [{"zip": "10115", "n": 1}]
    with pytest.raises(InvalidRequest, match="there is no column 'zap'"):
        data_of(tmp_path / "e.csv", replace(USE, text=("zap",)))


def test_blanks_around_the_name_of_a_column_are_not_part_of_it(tmp_path: Path) -> None:
    """N6."""
    path = tmp_path / "e.csv"
    path.write_text('ts, who,"\ttokens " \n2026-11-01,a,7\n'.replace('" \n', '"\n'))

    assert data_of(path, USE) == [{"tokens": 7}]


def test_lists_of_columns_are_written_as_csv(tmp_path: Path) -> None:
    """N32: a name with a comma is quoted."""
    path = tmp_path / "e.csv"
    path.write_text('ts,who,"cost, total","say ""x""",n\n2026-11-01,a,7,8,9\n')

    def id_of(list_: str) -> str:
        (row,) = EventFile(path, None, replace(USE, id=f"column:{list_}")).read()
        assert isinstance(row.event, bytes)
        return str(orjson.loads(row.event)["id"])

    assert id_of('"cost, total"') == "7"
    assert id_of('"cost, total",n,"say ""x"""') == "7/9/8"
    with pytest.raises(InvalidRequest, match='is not a list of columns: write A,B, and a name with a comma as "A, B"'):
        id_of('"cost, total')


def test_options_that_name_columns_are_repeated_or_quoted(tmp_path: Path) -> None:
    """N32, N7: on the command line."""
    path, data_dir = tmp_path / "e.csv", ("--data-dir", str(tmp_path / "data"))
    path.write_text('ts,who,"cost, total",version,n\n2026-11-01,a,7,1.10,9\n')

    answer = meterport(
        "import", str(path), "--type=use", "--subject=column:who", "--time=column:ts", "--id=column:who",
        "--id", 'column:"cost, total"', "--data", '"cost, total",version', "--data=n", "--text=n", *data_dir,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    listed = meterport("import", str(path), "--type=use", "--subject=x", "--time=column:ts", '--data="n', *data_dir)

    assert (listed.returncode, listed.stdout) == (1, "")
    assert listed.stderr == (
        'meterport: --data: \'"n\' is not a list of columns: write A,B, and a name with a comma as "A, B"\n'
    )


@pytest.mark.parametrize("option", ["data", "id", "subject", "text"])
def test_a_mapping_whose_texts_are_not_utf_8_has_a_digest(option: str) -> None:
    """N23b: argv may contain any bytes. For such a column name the message says that the column does not exist."""
    name = b"Gr\xf6\xdfe".decode("utf-8", "surrogateescape")
    given_ = (name,) if option in {"data", "text"} else f"column:{name}"

    mapping = replace(USE, **{option: given_})  # type: ignore[arg-type]

    assert len(mapping.digest) == 12
    assert mapping.digest != USE.digest


@pytest.mark.parametrize(
    ("cell", "literal"),
    [
        ("1400", "1400"),
        ("-0.1", "-0.1"),
        ("-0.10", '"-0.10"'),
        ("-0", '"-0"'),
        ("1.0", '"1.0"'),
        ("0.0012", "0.0012"),
        ("0.0001", '"0.0001"'),
        ("0.1", "0.1"),
        ("1e3", '"1e3"'),
        ("123456789012345", "123456789012345"),
        ("1234567890123456", '"1234567890123456"'),
        ("0.1234567890123456", '"0.1234567890123456"'),
        ("1e400", '"1e400"'),
        ("1e-400", '"1e-400"'),
        ("0e400", '"0e400"'),
        ("007", '"007"'),
        ("+5", '"+5"'),
        (".5", '".5"'),
        ("5.", '"5."'),
        ("1,000", '"1,000"'),
        ("٣", '"٣"'),
        ("NaN", '"NaN"'),
        ("true", '"true"'),
        (" 1", '" 1"'),
        ('"', '"\\""'),
        ("", None),
    ],
)
def test_a_csv_cell_is_a_number_where_clickhouse_prints_it_alike(cell: str, literal: str | None) -> None:
    assert guessed_literal(cell) == literal
