"""The ids of rows depend on their meaning: the same rows in another file count once, different events separately.

Contract D.27. Cases N3, N3b.
"""

import gzip
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidRequest
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from ingest.importer.rows import Occurrences, Row, content_id, number_occurrences
from tests.harness.command import meterport

USE = ColumnMapping(type="use", subject="column:who", time="column:ts")
ROWS = "2026-11-01T00:00:00Z,a,1\n2026-11-02T00:00:00Z,a,2\n2026-11-03T00:00:00Z,a,4\n"
HEADER = "ts,who,n\n"


@pytest.fixture
def ids(tmp_path: Path) -> Callable[..., list[str]]:
    """Return the ids of the events of a file with this content."""

    def ids_(content: str | bytes, name: str = "e.csv", mapping: ColumnMapping = USE) -> list[str]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return ids_of(path, mapping)

    return ids_


Ids = Callable[..., list[str]]


def ids_of(path: Path, mapping: ColumnMapping = USE) -> list[str]:
    return [
        orjson.loads(row.event)["id"] for row in EventFile(path, None, mapping).read() if isinstance(row.event, bytes)
    ]


# the same rows


def test_a_file_that_grew_keeps_the_ids_of_its_rows(ids: Ids) -> None:
    """N3."""
    first = ids(HEADER + ROWS)
    grown = ids(HEADER + ROWS + "2026-11-04T00:00:00Z,a,8\n")
    earlier = ids(HEADER + "2026-10-31T00:00:00Z,a,8\n" + ROWS)

    assert len({*first}) == 3
    assert grown[:3] == first
    assert earlier[1:] == first
    assert len({*grown, *earlier}) == 5


def test_the_same_rows_in_another_form_have_the_same_ids(ids: Ids) -> None:
    """N3: compressed once or again, with other line ends, as TSV, or with the columns in another order."""
    content = HEADER + ROWS
    expected = ids(content)

    assert ids(gzip.compress(content.encode(), mtime=1), "e.csv.gz") == expected
    assert ids(gzip.compress(content.encode(), 1, mtime=2), "e.csv.gz") == expected
    assert ids(content.replace("\n", "\r\n"), "crlf.csv") == expected
    assert ids(content.replace(",", "\t"), "e.tsv") == expected
    swapped = "\n".join(",".join(reversed(line.split(","))) for line in content.splitlines())
    assert ids(swapped) == expected


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_parquet_has_the_same_ids_whatever_packs_it(tmp_path: Path, ids: Ids, compression: str) -> None:
    """N3."""
    cells = [line.split(",") for line in ROWS.splitlines()]
    table = pa.table({"ts": [row[0] for row in cells], "who": [row[1] for row in cells], "n": [1, 2, 4]})
    pq.write_table(table, tmp_path / "e.parquet", compression=compression, row_group_size=2)

    assert ids_of(tmp_path / "e.parquet") == ids(HEADER + ROWS)


def test_an_instant_is_the_same_however_it_is_written(ids: Ids) -> None:
    """N3: the hash uses the meaning of the time."""
    expected = ids(HEADER + "2026-11-01T00:00:00Z,a,1\n")

    assert ids(HEADER + "2026-11-01 01:00:00.000+01:00,a,1\n") == expected
    berlin = ColumnMapping(type="use", subject="column:who", time="column:ts", time_zone="Europe/Berlin")
    assert ids(HEADER + "2026-11-01 01:00,a,1\n", mapping=berlin) == expected


def test_a_column_kept_as_text_is_the_same_event(ids: Ids) -> None:
    """N7: meters read the same text, whether it is a JSON number or a JSON string."""
    texts = ColumnMapping(type="use", subject="column:who", time="column:ts", text=("n",))

    assert ids(HEADER + ROWS, mapping=texts) == ids(HEADER + ROWS)


# other events


def test_equal_rows_of_one_file_stay_as_many_as_they_are(ids: Ids) -> None:
    """N3."""
    row = "2026-11-01T00:00:00Z,a,1\n"
    twice = ids(HEADER + row + ROWS + row)
    apart = ids(HEADER + row + "2026-11-09T00:00:00Z,a,1\n" * 5000 + row)

    assert len({*twice}) == 5
    assert ids(HEADER + row * 3)[:2] == [twice[0], twice[1]]
    assert len({*apart}) == 5002
    assert {apart[0], apart[-1]} == {twice[0], twice[1]}


def test_what_a_row_means_is_in_its_id(ids: Ids) -> None:
    """N3b: another type, subject, source, time zone or selection of columns gives other events from the same rows."""
    content = "ts,who,site,n,m\n2026-11-01 00:00,a,b,1,2\n"
    mappings = [
        USE,
        replace(USE, type="other"),
        replace(USE, subject="column:site"),
        replace(USE, source="here"),
        replace(USE, time_zone="Asia/Tokyo"),
        replace(USE, data=("n",)),
        replace(USE, data=("m",)),
        replace(USE, nulls=("1",)),
    ]

    assert len({ids(content, mapping=mapping)[0] for mapping in mappings}) == len(mappings)


def test_cells_of_a_row_cannot_be_shifted_into_its_neighbours(ids: Ids) -> None:
    """Two rows do not get the same id because their joined texts are equal."""
    contents = ["ts,who,a,b\n2026-11-01,x,1,23\n", "ts,who,a,b\n2026-11-01,x,12,3\n", "ts,who,a,b\n2026-11-01,x1,,23\n"]

    assert len({ids(content)[0] for content in contents}) == 3


# from any row on


def test_a_restart_in_the_middle_gives_the_same_ids(tmp_path: Path) -> None:
    """N3: the number of a repeated row is known, however much of the file was read before."""
    path = tmp_path / "e.csv"
    path.write_text(HEADER + "2026-11-01T00:00:00Z,a,1\n2026-11-02T00:00:00Z,a,1\n" * 3000)
    whole = list(EventFile(path, None, USE).read())

    for after in (1, 2999, 4096, 5999):
        assert list(EventFile(path, None, USE).read(after)) == whole[after:]


def test_rows_before_a_fault_of_the_file_come_first(tmp_path: Path) -> None:
    """Rows are numbered in chunks of some thousands. The rows of the last, incomplete chunk are not lost."""
    path = tmp_path / "e.csv"
    path.write_text(HEADER + ROWS + '2026-11-04T00:00:00Z,"a')
    rows = []

    with pytest.raises(InvalidRequest, match="row 4: unexpected end of data"):
        for row in EventFile(path, None, USE).read():
            rows.append(row)  # noqa: PERF402 - what came before the fault is wanted

    assert [row.number for row in rows] == [1, 2, 3]


@given(st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=40))
def test_occurrences_are_counted_over_all_that_came(chunks: list[list[int]]) -> None:
    occurrences, seen = Occurrences(), Counter[int]()

    for chunk in chunks:
        counted = occurrences.count(np.array(chunk, dtype=np.uint64)).tolist()
        assert counted == [seen.update([key]) or seen[key] for key in chunk]


def test_a_million_rows_take_some_tens_of_bytes_each() -> None:
    """N3: 20 million rows must fit into memory beside everything else."""
    occurrences, random = Occurrences(), np.random.default_rng(1)
    tracemalloc.start()
    for _ in range(250):
        occurrences.count(random.integers(0, 1 << 64, 4096, dtype=np.uint64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak / (250 * 4096) < 40


def test_long_rows_are_numbered_in_small_chunks() -> None:
    """Chunks are limited by bytes, too, and not only by rows."""
    pulled = 0

    def rows() -> Iterator[Row]:
        nonlocal pulled
        for number in range(1, 100):
            pulled = number
            yield Row(
                number, f'{{"specversion":"1.0","id":"{content_id([str(number)])}","x":"{"x" * (1 << 20)}"}}'.encode()
            )

    first = next(iter(number_occurrences(rows())))

    assert (first.number, pulled) == (1, 8)


# counted


def test_a_file_imported_in_every_form_and_as_two_types_counts_each_row_once(tmp_path: Path) -> None:
    """N3, N3b, through the command line into a store."""
    path, data_dir = tmp_path / "e.csv", ("--data-dir", str(tmp_path / "data"))
    path.write_text(HEADER + ROWS)
    for slug in ("power", "water"):
        meterport(
            "meters", "create", slug, f"--event-type={slug}", "--aggregation=SUM", "--value-property=$.n", *data_dir
        )

    def imported(file: Path, type_: str = "power") -> None:
        answer = meterport("import", str(file), "--type", type_, "--subject=column:who", "--time=column:ts", *data_dir)
        assert answer.returncode == 0, answer.stderr

    imported(path)
    path.write_text(HEADER + ROWS + "2026-11-04T00:00:00Z,a,8\n")
    imported(path)
    packed = tmp_path / "e.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    imported(packed)
    imported(path, "water")

    for slug in ("power", "water"):
        answer = meterport("query", slug, "--format=json", *data_dir)
        assert [row["value"] for row in orjson.loads(answer.stdout)["data"]] == [15]
