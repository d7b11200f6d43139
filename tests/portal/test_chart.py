"""What the chart draws: labels under the right windows, gaps without usage, and separate groups."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.portal.conftest import Open
from tests.portal.customer import ZONE, Customer, now
from tests.portal.page import settle, show

# Records all texts and lines that are drawn on a canvas.
WATCH = """
  window.drawn = []
  const canvas = CanvasRenderingContext2D.prototype
  const write = canvas.fillText
  canvas.fillText = function (text, ...at) { drawn.push(text); write.call(this, text, ...at) }
  window.points = new Set()
  const arc = Path2D.prototype.arc
  window.cut = []
  const note = canvas.fillText
  canvas.fillText = function (text, x, ...at) {
    const half = this.measureText(text).width / 2
    if (this.textAlign === 'center' && x + half > this.canvas.width + 1) cut.push(text)
    note.call(this, text, x, ...at)
  }
  Path2D.prototype.arc = function (...at) { points.add(at[0]); arc.apply(this, at) }
"""


@pytest.fixture
def alone(customer: Customer) -> Customer:
    """A customer without events."""
    return customer.another()


def watched(opened: Page) -> Page:
    opened.add_init_script(WATCH)
    return opened


def axis(page: Page) -> list[str]:
    """Return the texts of the time axis that were drawn since the last call."""
    page.wait_for_timeout(300)
    texts: list[str] = page.evaluate("() => drawn.splice(0)")
    return [text for text in texts if re.match(r"\d\d:\d\d|[A-Z][a-z]{2} \d", text)]


def test_the_time_axis_follows_the_zone(page: Open, customer: Customer) -> None:
    shown = show(watched(page()), customer, customer.token()["token"], "meter=tokens&period=24h&refresh=0")
    settle(shown)
    assert {text[-3:] for text in axis(shown) if ":" in text} == {":00"}

    shown.get_by_label("Time zone").select_option("Asia/Calcutta")
    settle(shown)

    first = datetime.now(ZoneInfo("Asia/Calcutta")) + timedelta(hours=1)
    assert axis(shown)[0] == f"{first:%H}:00"


def test_the_time_axis_names_the_day_where_it_changes(page: Open, customer: Customer) -> None:
    shown = show(watched(page()), customer, customer.token()["token"], "meter=tokens&period=7d&window=hour&refresh=0")
    settle(shown)

    today = datetime.now(ZoneInfo(ZONE))
    days = [f"{today - timedelta(days=back):%b %-d}" for back in range(7)]
    assert set(axis(shown)) >= {"00:00", *days}


def test_a_line_has_gaps_and_lone_values_are_points(page: Open, alone: Customer) -> None:
    """Every second hour of a week has a value: no values can be connected, but each must be visible."""
    at = now().replace(minute=0) - timedelta(days=2)
    alone.send(*((at + timedelta(hours=2 * n), {"tokens": "1", "model": "m", "type": "t", "ms": 5}) for n in range(4)))
    view = "meter=latency&period=7d&window=hour&refresh=0"
    shown = show(watched(page()), alone, alone.token()["token"], view)
    settle(shown)
    shown.wait_for_timeout(300)

    assert shown.evaluate("points.size") == 4


def test_a_group_called_other_keeps_its_own_total(page: Open, alone: Customer) -> None:
    models = ["Other", *(f"m{number}" for number in range(9))]
    alone.send(
        *((now(), {"tokens": str(100 - n), "model": model, "type": "t", "ms": 1}) for n, model in enumerate(models))
    )
    shown = show(page(), alone, alone.token()["token"], "meter=tokens&group=model&refresh=0")

    expect(shown.locator(".mp-legend li")).to_have_text(
        ["Other100", "m099", "m198", "m297", "m396", "m495", "m594", "Other (3)276"]
    )


def levels(page: Page) -> list[str]:
    """Return the texts of the value axis."""
    page.wait_for_timeout(300)
    texts: list[str] = page.evaluate("() => drawn.splice(0)")
    return [text for text in texts if not re.search(r":|[A-Z][a-z]{2} ", text)]


def test_values_of_any_size_have_an_axis(page: Open, alone: Customer) -> None:
    data = {"tokens": "1", "model": "m", "type": "t", "ms": 1, "vast": f"25{'0' * 36}.5", "tiny": "0.0000000000000025"}
    meters = (
        {"slug": slug, "eventType": "prompt", "aggregation": "SUM", "valueProperty": f"$.{slug}"}
        for slug in ("vast", "tiny")
    )
    with alone.having(next(meters)), alone.having(next(meters)):
        alone.send((now(), data))
        token = alone.token()["token"]

        vast = show(watched(page()), alone, token, "meter=vast&refresh=0")
        settle(vast)
        assert {"0", "1 × 10³⁷", "2 × 10³⁷"} <= set(levels(vast))
        tiny = show(watched(page()), alone, token, "meter=tiny&refresh=0")
        settle(tiny)
        assert {"0", "1 × 10⁻¹⁵", "2 × 10⁻¹⁵"} <= set(levels(tiny))


def test_counts_have_no_fractions_on_their_axis(page: Open, alone: Customer) -> None:
    alone.send((now(), {"tokens": "1", "model": "m", "type": "t", "ms": 1}))
    shown = show(watched(page()), alone, alone.token()["token"], "meter=calls&refresh=0")
    settle(shown)

    assert set(levels(shown)) == {"0", "1"}


def test_no_text_of_the_time_axis_is_cut_off(page: Open, customer: Customer) -> None:
    opened = watched(page("phone"))
    token = customer.token()["token"]
    for view in ("period=12m&window=day", "period=2026-01-01..2026-11-26&window=day", "period=7d&window=hour"):
        show(opened, customer, token, f"meter=tokens&{view}&refresh=0")
        settle(opened)
        opened.wait_for_timeout(300)

        assert opened.evaluate("drawn.length") > 0
        assert opened.evaluate("cut") == [], view


def test_an_answer_that_says_the_same_is_not_drawn_again(page: Open, customer: Customer) -> None:
    shown = show(watched(page()), customer, customer.token()["token"], "meter=tokens&period=30d&refresh=1")
    settle(shown)
    axis(shown)

    for _ in range(3):
        with shown.expect_response(lambda answer: "/tokens/query" in answer.url):
            pass

    assert axis(shown) == []
