"""What the page shows is true for the time of the answer: with open windows, and with wrong clocks."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, Route, expect

from tests.portal.browser import audit
from tests.portal.conftest import Open, Run, Serve
from tests.portal.customer import ZONE, Customer, now
from tests.portal.element import shop
from tests.portal.page import DAY, point_at_last_window, settle, show

# Records the patterns and dashes that are drawn on a canvas.
WATCH = """
  window.patterns = 0
  window.dashes = 0
  const canvas = CanvasRenderingContext2D.prototype
  const { fill, setLineDash } = canvas
  canvas.fill = function (...given) { patterns += this.fillStyle instanceof CanvasPattern; fill.apply(this, given) }
  canvas.setLineDash = function (dash) { dashes += dash.length > 0; setLineDash.call(this, dash) }
"""


@pytest.fixture(scope="module")
def steady(customer: Customer) -> Customer:
    """A customer with an event every twelve hours of the last 70 days, the last one now."""
    another = customer.another()
    times = (now() - timedelta(hours=12 * number) for number in range(140))
    another.send(*((at, {"tokens": "2", "model": "m", "type": "t", "ms": 5}) for at in times))
    return another


def today() -> str:
    return f"{datetime.now(ZoneInfo(ZONE)):{DAY}}"


def first_cell(page: Page) -> str:
    return page.locator(".mp-table tbody th").first.inner_text()


def test_a_window_that_is_not_over_is_marked_everywhere(page: Open, steady: Customer) -> None:
    """N31: in the table, the total, below the chart, beside the pointer, for screen readers and on paper."""
    opened = page()
    opened.add_init_script(WATCH)
    shown = show(opened, steady, steady.token()["token"], "meter=tokens&refresh=0")
    settle(shown)

    assert first_cell(shown) == f"{today()} · so far"
    assert shown.locator(".mp-table tbody").inner_text().count("so far") == 1
    expect(shown.locator(".mp-total")).to_contain_text("Total so far, ")
    expect(shown.locator(".mp-table tfoot th")).to_have_text("Total of the period so far")
    expect(shown.locator(".mp-chart")).to_have_attribute("aria-label", re.compile(re.escape(f"{today()} (so far)")))
    expect(shown.locator("figcaption")).to_have_text(f"Only part of: {today()} (so far).")
    assert shown.evaluate("patterns") > 0
    point_at_last_window(shown)
    expect(shown.locator(".mp-tip strong")).to_have_text(f"{today()} · so far")
    shown.hover(".mp-chart", position={"x": 600, "y": 100})
    expect(shown.locator(".mp-tip strong")).not_to_contain_text("so far")
    assert audit(shown) == []
    shown.emulate_media(media="print")
    expect(shown.get_by_text("Only part of: ")).to_be_visible()
    expect(shown.locator(".mp-part").first).to_be_visible()


def test_a_line_to_a_window_that_is_not_over_is_dashed(page: Open, steady: Customer) -> None:
    """N31."""
    opened = page()
    opened.add_init_script(WATCH)
    shown = show(opened, steady, steady.token()["token"], "meter=latency&refresh=0")
    settle(shown)

    expect(shown.locator(".mp-parts")).to_contain_text("so far")
    assert shown.evaluate("dashes") > 0
    expect(shown.locator(".mp-total")).to_contain_text("Average so far, ")


def test_a_period_that_is_over_is_not_marked(page: Open, steady: Customer) -> None:
    """N31."""
    opened = page()
    opened.add_init_script(WATCH)
    shown = show(opened, steady, steady.token()["token"], "meter=tokens&period=last-month&refresh=0")
    settle(shown)

    assert "so far" not in shown.locator(".mp").inner_text()
    assert shown.locator(".mp-parts").count() == 0
    assert shown.evaluate("patterns") == 0
    expect(shown.locator(".mp-chart")).not_to_have_attribute("aria-label", re.compile("so far"))


def test_windows_that_the_period_cuts_are_marked_too(page: Open, steady: Customer) -> None:
    """Like N31: before, a month that is only partly in the period looked like a whole one."""
    local = datetime.now(ZoneInfo(ZONE))
    months = [(local.replace(day=1) - timedelta(days=back)).replace(day=15) for back in (45, 20)]
    period = f"{months[0]:%Y-%m-%d}..{months[1]:%Y-%m-%d}"
    shown = show(page(), steady, steady.token()["token"], f"meter=tokens&period={period}&window=month&refresh=0")
    settle(shown)

    texts = shown.locator(".mp-table tbody th").all_inner_texts()
    assert texts[0] == f"{months[1]:%B %Y} · until {months[1]:%b %-d}"
    assert texts[-1] == f"{months[0]:%B %Y} · from {months[0]:%b %-d}"
    assert not any("·" in text for text in texts[1:-1])


@pytest.mark.parametrize(
    "days", [pytest.param(-400, marks=pytest.mark.only_long, id="a year behind"), pytest.param(10, id="ten days ahead")]
)
def test_the_clock_is_that_of_the_answers(page: Open, steady: Customer, days: int) -> None:
    """N31, K3: a computer whose clock is wrong asks for the right days, and marks the right window."""
    opened = page()
    opened.clock.install(time=datetime.now(ZoneInfo(ZONE)) + timedelta(days=days))
    shown = show(opened, steady, steady.token()["token"], "meter=tokens&period=7d")
    settle(shown)

    assert first_cell(shown) == f"{today()} · so far"
    assert shown.locator(".mp-table tbody tr").count() == 7
    expect(shown.locator(".mp-panel-tools")).to_contain_text(f"{datetime.now(ZoneInfo(ZONE)):%b %-d}")


def test_another_site_reads_the_clock_of_the_answers_too(page: Open, steady: Customer, serve: Serve) -> None:
    """N31, K3: a browser shows a site only those headers that the answer allows by name."""
    opened = page()
    opened.clock.install(time=datetime.now(ZoneInfo(ZONE)) + timedelta(days=10))
    opened.goto(serve(shop(steady, f'token="{steady.token()["token"]}" meter="tokens" period="7d" locale="en-US"')))
    settle(opened)

    assert first_cell(opened) == f"{today()} · so far"


def test_a_pointer_that_rests_shows_the_numbers_of_the_last_refresh(page: Open, customer: Customer) -> None:
    """Like N31: before, the text beside the pointer kept the old numbers until the pointer moved."""
    shown = show(page(), customer, customer.token()["token"], "meter=calls&refresh=0.5")
    settle(shown)
    point_at_last_window(shown)
    before = shown.locator(".mp-tip b").inner_text()

    customer.send((now(), {"tokens": "0", "model": "vision", "type": "input", "ms": 1}))

    expect(shown.locator(".mp-tip b")).to_have_text(str(int(before) + 1))


def test_the_card_of_the_meter_looked_at_has_the_same_total(page: Open, customer: Customer) -> None:
    """Like N31: cards refresh less often. Before, they showed an older total beside the new one."""
    shown = show(page(), customer, customer.token()["token"], "meter=calls&refresh=4")
    settle(shown)
    shown.wait_for_selector(".mp-course")  # cards refresh after 24 seconds
    customer.send((now(), {"tokens": "0", "model": "vision", "type": "input", "ms": 1}))
    after = str(len(customer.events))

    expect(shown.locator(".mp-total strong")).to_have_text(after)
    expect(shown.locator(".mp-card[aria-current=true] .mp-card-total")).to_have_text(after, timeout=5000)


def test_without_a_table_nobody_is_sent_to_it(page: Open, customer: Customer, serve: Serve) -> None:
    """Like N31: before, the description of the chart mentioned a table that was not shown."""
    opened = page()
    token = customer.token()["token"]
    opened.goto(serve(shop(customer, f'token="{token}" meter="tokens" show="total chart" locale="en-US"')))
    settle(opened)

    expect(opened.locator(".mp-chart")).not_to_have_attribute("aria-label", re.compile("table"))


def test_the_time_of_an_answer_has_its_day(run: Run) -> None:
    """Like N31: before, a page that stayed open showed a time of yesterday like one of today."""
    at = int(datetime(2026, 11, 28, 16, 44, 10, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)

    (label,) = run("periods", ("timeLabel", at, "Asia/Tokyo", "en-US"))

    assert label.replace("\u202f", " ") == "Nov 29, 1:44:10 AM GMT+9"


@pytest.mark.parametrize(
    "wait", [pytest.param("99999999999", marks=pytest.mark.only_long), "Fri, 31 Dec 2199 23:59:59 GMT"]
)
def test_nobody_makes_the_page_wait_for_ever(page: Open, customer: Customer, wait: str) -> None:
    """K3: Retry-After from a proxy may be seconds or a date. The page waits at most an hour."""
    opened = page()
    opened.clock.install()
    refused = {"Retry-After": wait, "Content-Type": "application/problem+json"}

    def refuse(route: Route) -> None:
        route.fulfill(status=503, body="{}", headers=refused)

    opened.route("**/tokens/query*", refuse)
    token = customer.token(allowedMeterSlugs=["tokens"])["token"]
    show(opened, customer, token, "meter=tokens&refresh=1")
    expect(opened.get_by_role("alert")).to_be_visible()
    opened.unroute_all(behavior="wait")

    opened.clock.fast_forward(50 * 60 * 1000)
    opened.wait_for_timeout(300)
    assert opened.get_by_role("alert").is_visible()
    opened.clock.fast_forward(15 * 60 * 1000)

    settle(opened)
    expect(opened.get_by_role("alert")).to_have_count(0)
