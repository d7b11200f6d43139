"""N18: a key with 130,000 values (in the long form 300,000). The page requests and draws little, and is exact."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, expect

from tests.harness.long_form import LONG
from tests.harness.preloaded import ROOT
from tests.portal.browser import audit
from tests.portal.conftest import Open, Run
from tests.portal.customer import Customer
from tests.portal.many import rid
from tests.portal.page import settle, show, total

COUNT = 300_000 if LONG else 130_000  # more than the rows of an answer to a token
REFRESH_BYTES = 200_000
ELEMENTS = 1_500  # of a page; about 700 of them are in the list of time zones
METERS = [
    {"slug": "requests", "name": "Requests", "eventType": "request", "aggregation": "COUNT"},
    {"slug": "spent", "name": "Spent", "eventType": "request", "aggregation": "SUM", "valueProperty": "$.tokens"},
    {"slug": "slowest", "name": "Slowest", "eventType": "request", "aggregation": "MAX", "valueProperty": "$.ms"},
]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Customer]:
    directory = tmp_path_factory.mktemp("many")
    made = [sys.executable, "-m", "tests.portal.many", str(directory / "data"), str(COUNT)]
    subprocess.run(made, cwd=ROOT, check=True, timeout=300)
    running = Customer(directory)
    for meter in METERS:
        running.create({**meter, "groupBy": {"rid": "$.rid"}})
    for meter in METERS:
        running.wait_until_filled(str(meter["slug"]))
    yield running
    running.close()


@pytest.fixture(scope="module")
def token(many: Customer) -> str:
    return str(many.token(allowedMeterSlugs=[str(meter["slug"]) for meter in METERS])["token"])


class Heard:
    """The answers of the API that a page got since the last call of `take`."""

    def __init__(self, page: Page) -> None:
        self._answers: list[Response] = []
        page.on("response", lambda answer: self._answers.append(answer) if "/api/" in answer.url else None)

    def take(self) -> list[tuple[str, int]]:
        """Return their URLs and sizes."""
        answers, self._answers = self._answers, []
        return [(answer.url, len(answer.body())) for answer in answers if answer.status == 200]


@pytest.mark.parametrize("slug", ["requests", "slowest"])
def test_a_refresh_asks_for_little_and_draws_little(page: Open, many: Customer, token: str, slug: str) -> None:
    """N18: before, each refresh had two answers of 46 MB, and a minute 709 MiB."""
    opened = page()
    heard = Heard(opened)
    shown = show(opened, many, token, f"meter={slug}&group=rid&refresh=0")
    settle(shown)
    asked = heard.take()  # a refresh requests the same

    assert len([url for url, _ in asked if "maxGroups" in url]) == 2
    assert sum(size for _, size in asked) < REFRESH_BYTES, asked
    assert shown.evaluate("document.querySelectorAll('*').length") < ELEMENTS
    assert shown.locator(".mp-table tbody tr").count() <= 31


def test_it_says_what_all_the_others_are(page: Open, many: Customer, token: str) -> None:
    """N18: the largest groups have a colour and rows, all others are one group, and the numbers add up."""
    shown = show(page(), many, token, "meter=requests&group=rid&refresh=0")

    assert total(shown) == f"{COUNT:,}"
    expect(shown.locator(".mp-legend li")).to_have_count(8)
    expect(shown.locator(".mp-legend li").last).to_have_text(f"Other ({COUNT - 7:,}){COUNT - 7:,}")
    expect(shown.locator(".mp-table > p").first).to_have_text(
        re.compile(rf"^The \d\d largest of {COUNT:,} groups, and all others together\.$")
    )
    assert shown.locator(".mp-table tbody tr").count() <= 31
    shown.get_by_role("button", name="Show more").click()
    others = shown.locator(".mp-table tbody tr", has_text="All others").locator("td").last
    expect(others).to_have_text(re.compile(r"^[\d,]+$"))
    assert audit(shown) == []


def test_what_does_not_add_up_has_no_line_for_the_others(page: Open, many: Customer, token: str) -> None:
    """N18: the chart has eight lines and the number of other groups. The table has the aggregate of the others."""
    shown = show(page(), many, token, "meter=slowest&group=rid&refresh=0")
    settle(shown)

    expect(shown.locator(".mp-legend li")).to_have_count(9)
    expect(shown.locator(".mp-legend li").last).to_have_text(f"{COUNT - 8:,} more")
    shown.get_by_role("button", name="Show more").click()
    yesterday = shown.locator(".mp-table tbody tr", has_text="All others").nth(1)
    # 776 is the largest value. Of the groups with it, those that came last have their own rows.
    expect(yesterday.locator("td").last).to_have_text(re.compile("^77[56]$"))


def test_a_value_is_found_by_a_part_of_it(page: Open, many: Customer, token: str) -> None:
    """N18: before, a click into the field froze the page for minutes: each of 300,000 values was an option."""
    opened = page()
    heard = Heard(opened)
    shown = show(opened, many, token, "meter=requests&refresh=0")
    settle(shown)

    shown.get_by_label("Only rid").click()
    options = shown.locator(".mp-options").get_by_role("option")  # other options belong to selects
    expect(shown.locator(".mp-options p")).to_have_text("There are more values. Type a part of one.")
    expect(options).to_have_count(20)
    shown.keyboard.type("EQ-000000123456", delay=5)
    expect(options).to_have_text([rid(123456)])

    asked = [(url, size) for url, size in heard.take() if "/group-by/rid/values" in url]
    assert 2 <= len(asked) <= 6, asked  # for 16 keys; a busy machine may pause between some of them
    assert max(size for _, size in asked) < 2_000
    options.click()
    expect(shown.get_by_label("Only rid")).to_have_value(rid(123456))
    expect(shown.locator(".mp-total strong")).to_have_text("1")
    expect(options).to_have_count(0)


def test_a_file_with_too_many_rows_says_what_to_choose(page: Open, many: Customer, token: str) -> None:
    """N18: the file is complete, or there is none."""
    shown = show(page(), many, token, "meter=requests&group=rid&refresh=0")
    settle(shown)

    shown.get_by_role("button", name="Download CSV").click()

    expect(shown.get_by_role("alert")).to_have_text(
        "Not downloaded: That is too much at once. Choose a shorter period, larger windows, fewer groups, or a filter."
    )


def test_values_are_chosen_with_the_keyboard(page: Open, customer: Customer) -> None:
    """N18: a usual combobox: arrows move, Enter chooses, Escape closes, and the typed text may be used unchanged."""
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&refresh=0")
    settle(shown)
    field = shown.get_by_role("combobox", name="Only model")
    options = shown.locator(".mp-options").get_by_role("option")
    field.focus()
    expect(field).to_have_attribute("aria-expanded", "false")

    field.press("ArrowDown")
    expect(shown.get_by_role("listbox", name="Values of model").get_by_role("option")).to_have_text(
        ["atlas-large", "atlas-small", "vision"]
    )
    expect(field).to_have_attribute("aria-expanded", "true")
    assert audit(shown) == []
    field.press("ArrowDown")
    expect(options.and_(shown.locator("[aria-selected=true]"))).to_have_text("atlas-large")
    active = field.get_attribute("aria-activedescendant")
    assert shown.locator(f'[id="{active}"]').inner_text() == "atlas-large"
    field.press("ArrowUp")
    expect(shown.locator(".mp-options [aria-selected=true]")).to_have_text("vision")
    field.press("Escape")
    expect(shown.locator(".mp-options")).to_have_count(0)
    expect(field).to_be_focused()
    expect(field).to_have_value("")

    field.type("ATLAS")
    expect(shown.locator(".mp-options li")).to_have_count(2)
    field.press("ArrowDown")
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("atlas-small")
    expect(shown.locator(".mp-options")).to_have_count(0)
    field.fill("nothing like it")
    expect(shown.locator(".mp-options p")).to_have_text("No such value. Press Enter to use it anyway.")
    field.press("Enter")
    expect(shown.locator(".mp-notice h2")).to_have_text("No usage in this period")


def test_answers_are_compared_without_writing_them_as_text(run: Run) -> None:
    """N18: before, large answers were written as text twice at each refresh."""
    row = {"value": "1.50", "keys": {"a": "x"}, "at": [1, 2, None]}
    changes: list[object] = [
        {**row, "value": "1.5"}, {**row, "keys": {"a": "y"}}, {**row, "keys": {"b": "x"}}, {**row, "at": [1, 2]},
        {**row, "at": {"0": 1, "1": 2, "2": None}}, {**row, "more": 1}, None, "x", [row],
    ]  # fmt: skip

    found = run("same", ("isSame", [row, row], [row, dict(row)]), *(("isSame", row, other) for other in changes))

    assert found == [True] + [False] * len(changes)
    assert "JSON.stringify(data)" not in (Path(ROOT) / "api/portal_page/src/polling.ts").read_text(encoding="utf-8")
