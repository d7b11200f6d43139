"""Months that begin on a given day, and the current period of the subject."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Route, expect

from tests.portal.browser import choose
from tests.portal.conftest import Open, Run, Serve
from tests.portal.customer import ZONE, Customer, a_month, now, written
from tests.portal.element import shop
from tests.portal.page import settle, show, total

UNKNOWN = "Your current period is not known here. This is the calendar month."


@pytest.fixture
def billed(customer: Customer) -> Customer:
    """A customer with three weeks of events, and no current period yet."""
    another = customer.another()
    another.send(*a_month(now()))
    return another


def four_days_ago(customer: Customer) -> datetime:
    """Return the time of the event four days before the newest one. From this time on, its day has usage."""
    newest = customer.events[0][0]
    return newest - timedelta(days=4)


def since(customer: Customer, start: datetime) -> str:
    """Return the total since an instant, as the page writes it."""
    return written(sum((Decimal(data["tokens"]) for at, data in customer.events if at >= start), Decimal()))


def millis(day: date, zone: str) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def test_a_month_may_begin_on_any_day_and_moves_on_by_itself(run: Run) -> None:
    """N36: in a month that is too short, the period begins on the last day."""
    cases = {
        ("month@15", "2026-11-14"): ("2026-10-15", "2026-11-15"),
        ("month@15", "2026-11-15"): ("2026-11-15", "2026-12-15"),
        ("month@15", "2026-12-31"): ("2026-12-15", "2027-01-15"),
        ("last-month@15", "2027-01-20"): ("2026-12-15", "2027-01-15"),
        ("month@31", "2026-02-27"): ("2026-01-31", "2026-02-28"),
        ("month@31", "2026-02-28"): ("2026-02-28", "2026-03-31"),
        ("month@31", "2028-02-29"): ("2028-02-29", "2028-03-31"),
        ("month@30", "2026-03-29"): ("2026-02-28", "2026-03-30"),
        ("last-month@30", "2026-03-29"): ("2026-01-30", "2026-02-28"),
        ("month@2", "2026-01-01"): ("2025-12-02", "2026-01-02"),
    }
    calls, wanted = [], []
    for (period, today), (first, end) in cases.items():
        for zone in ("UTC", "America/Los_Angeles"):
            calls.append(("spanOf", period, zone, millis(date.fromisoformat(today), zone) + 3_600_000))
            wanted.append(
                {"from": millis(date.fromisoformat(first), zone), "to": millis(date.fromisoformat(end), zone)}
            )

    assert run("periods", *calls) == wanted


def test_a_day_that_no_month_has_is_no_period(run: Run) -> None:
    """N36."""
    texts = [
        "month@15",
        "last-month@31",
        "month@1",
        "last-month@1",
        "current",
        "month@0",
        "month@32",
        "month@015",
        "7d@3",
    ]

    assert run("viewState", *(("readPeriod", text) for text in texts)) == [
        "month@15", "last-month@31", "month", "last-month", "current", None, None, None, None,
    ]  # fmt: skip


def test_an_anchored_month_in_the_address_names_its_day_in_the_menu(page: Open, customer: Customer) -> None:
    """N36: the choice also stays in the menu."""
    local = datetime.now(ZoneInfo(ZONE)).date()
    anchor = (local - timedelta(days=5)).day
    sums = customer.tokens_by("%Y-%m-%d")
    span = [f"{local - timedelta(days=back)}" for back in range(6)]
    shown = show(page(), customer, customer.token()["token"], f"meter=tokens&period=month@{anchor}&refresh=0")

    wanted = written(sum((sums.get((day,), Decimal()) for day in span), Decimal()))
    assert total(shown) == wanted
    ending = "th" if anchor in range(11, 14) else {1: "st", 2: "nd", 3: "rd"}.get(anchor % 10, "th")
    chosen = "This month" if anchor == 1 else f"This month, from the {anchor}{ending}"
    expect(shown.get_by_role("radio", name=chosen, exact=True)).to_be_checked()
    choose(shown.get_by_role("radio", name="Last 7 days"))
    settle(shown)
    shown.get_by_role("button", name="API calls").click()
    settle(shown)
    shown.get_by_role("button", name="Tokens").click()
    choose(shown.get_by_role("radio", name=chosen, exact=True))
    assert total(shown) == wanted
    assert f"period=month%40{anchor}" in shown.url or anchor == 1
    shown.reload()
    assert total(shown) == wanted


def test_the_element_takes_an_anchored_month(page: Open, customer: Customer, serve: Serve) -> None:
    """N36: as an attribute. 22 and 23 are written as English ordinals."""
    opened = page()
    opened.goto(serve(shop(customer, f'token="{customer.token()["token"]}" meter="tokens" period="month@22"')))
    settle(opened)

    expect(opened.get_by_role("radio", name="This month, from the 22nd", exact=True)).to_be_checked()
    opened.evaluate("document.querySelector('meterport-usage').period = 'last-month@23'")
    expect(opened.get_by_role("radio", name="Last month, from the 23rd", exact=True)).to_be_checked()


def test_the_current_period_is_the_subjects_own(page: Open, billed: Customer) -> None:
    """N36: it is shown with hours if it does not begin at midnight. It is offered only if it is known."""
    start = four_days_ago(billed)
    token = billed.token()["token"]
    before = show(page(), billed, token, "meter=tokens&refresh=0")
    settle(before)
    assert before.get_by_role("radio", name="Current period").count() == 0

    billed.describe(currentPeriodStart=start.isoformat(), currentPeriodEnd=(start + timedelta(days=30)).isoformat())
    shown = show(page(), billed, token, "meter=tokens&period=current&refresh=0")

    assert total(shown) == since(billed, start)
    local = start.astimezone(ZoneInfo(ZONE))
    expect(shown.locator(".mp-total bdi")).to_contain_text(f"{local:%b %-d}, {local:%Y}, {local:%H:%M}")
    expect(shown.get_by_role("radio", name="Current period")).to_be_checked()
    expect(shown.locator(".mp-table tbody th").last).to_contain_text(f"from {local:%b %-d}, {local:%H:%M}")
    expect(shown.locator(".mp-remark")).to_have_count(0)
    choose(shown.get_by_role("radio", name="Last 7 days"))
    settle(shown)
    choose(shown.get_by_role("radio", name="Current period"))
    assert total(shown) == since(billed, start)
    assert "period=current" in shown.url


def test_a_period_that_is_not_known_or_over_is_said_to_be_so(page: Open, billed: Customer) -> None:
    """N36: the page never shows another period without saying so."""
    opened = page()
    show(opened, billed, billed.token()["token"], "meter=tokens&period=current&refresh=0")
    settle(opened)
    expect(opened.locator(".mp-remark")).to_have_text(UNKNOWN)
    local = datetime.now(ZoneInfo(ZONE))
    month = written(sum((v for (k,), v in billed.tokens_by("%Y-%m").items() if k == f"{local:%Y-%m}"), Decimal()))
    assert total(opened) == month

    start, end = now() - timedelta(days=12), now() - timedelta(days=2)
    billed.describe(currentPeriodStart=start.isoformat(), currentPeriodEnd=end.isoformat())
    opened.reload()
    expect(opened.locator(".mp-remark")).to_contain_text("The last period that is known here")
    wanted = sum((Decimal(data["tokens"]) for at, data in billed.events if start <= at < end), Decimal())
    assert total(opened) == written(wanted)
    assert "so far" not in opened.locator(".mp-total").inner_text()

    billed.describe(currentPeriodStart=(now() + timedelta(days=1)).isoformat(), currentPeriodEnd=None)
    opened.reload()
    settle(opened)
    expect(opened.locator(".mp-remark")).to_have_text(UNKNOWN)


def test_while_the_current_period_cannot_be_asked_nothing_else_is_shown(page: Open, billed: Customer) -> None:
    """N36: otherwise the reader would believe that the total of another period is the total of this one."""
    start = four_days_ago(billed)
    billed.describe(currentPeriodStart=start.isoformat())
    opened = page()

    def refuse(route: Route) -> None:
        route.fulfill(status=503, body="{}")

    opened.route("**/portal/subject", refuse)
    show(opened, billed, billed.token()["token"], "meter=tokens&period=current&refresh=0.5")
    expect(opened.get_by_role("alert")).to_contain_text("Usage is not available right now")
    assert opened.locator(".mp-total").count() == 0

    opened.unroute_all(behavior="wait")
    assert total(opened) == since(billed, start)


def test_a_current_period_is_one_that_has_begun(run: Run) -> None:
    """N36: a period without an end lasts until the end of the day."""
    at = int(datetime(2026, 11, 29, 4, 44, tzinfo=UTC).timestamp() * 1000)
    start, end = "2026-11-15T13:27:41.5Z", "2026-12-15T13:27:41.5Z"
    given = [
        {"currentPeriodStart": start, "currentPeriodEnd": end},
        {"currentPeriodStart": start},
        {"currentPeriodEnd": end},
        {"currentPeriodStart": end, "currentPeriodEnd": start},
        {"currentPeriodStart": end},
        {},
    ]
    from_ms, to_ms = (int(datetime.fromisoformat(text).timestamp() * 1000) for text in (start, end))

    assert run("current", *(("currentPeriodOf", {"key": "acme", **one}, "Asia/Tokyo", at) for one in given)) == [
        {"from": from_ms, "to": to_ms},
        {"from": from_ms, "to": int(datetime(2026, 11, 29, 15, tzinfo=UTC).timestamp() * 1000)},
        None, None, None, None,
    ]  # fmt: skip
