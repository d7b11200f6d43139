"""The page at /portal in a real browser, against a running server: correct and current numbers, and a safe token."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Request, expect

from tests.portal.browser import Complaints, audit, choose
from tests.portal.conftest import Open
from tests.portal.customer import BEYOND, Customer, now, written
from tests.portal.page import DAY, newest_first, rows, show, total

WEIGHT_LIMIT = 200_000  # bytes over the wire


def test_it_shows_every_day_with_every_digit(page: Open, customer: Customer, complaints: Complaints) -> None:
    shown = show(page(), customer, customer.token()["token"])
    sums = customer.tokens_by(DAY)

    assert total(shown) == written(sum(sums.values(), Decimal()))
    assert rows(shown) == newest_first(sums, customer, DAY)
    assert any(float(value) != value for value in sums.values())  # more digits than a double can hold
    assert shown.locator(".mp-chart canvas").count() == 1
    assert complaints == []


def test_it_lists_the_meters_of_the_token_and_only_those(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token(allowedMeterSlugs=["calls", "tokens"])["token"], "meter=calls")

    expect(shown.locator(".mp-card-name")).to_have_text(["API calls", "Tokens"])
    expect(shown.locator(".mp-card-total").first).to_have_text(str(len(customer.events)))
    shown.get_by_role("button", name=re.compile("^Tokens")).click()
    assert total(shown) == written(sum(customer.tokens_by(DAY).values(), Decimal()))
    expect(shown.get_by_role("heading", level=2)).to_have_text("Tokens")


def test_groups_filters_and_windows(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"])

    choose(shown.get_by_role("checkbox", name="model"))
    expect(shown.locator(".mp-legend li")).to_have_count(3)
    assert rows(shown) == newest_first(customer.tokens_by(DAY, "model"), customer, DAY)

    shown.get_by_label("Only type").fill("output")
    shown.keyboard.press("Enter")
    expect(shown.locator(".mp-table tbody tr")).to_have_count(1)
    assert [row[1:] for row in rows(shown)] == [("vision", written(Decimal(BEYOND)))]
    assert total(shown) == written(Decimal(BEYOND))

    shown.get_by_role("button", name="Any type").click()
    shown.get_by_label("Only model").fill("atlas-small")
    shown.keyboard.press("Enter")
    shown.get_by_role("combobox", name="Per", exact=True).select_option("MONTH")
    only = customer.tokens_by("%B %Y", "model", model="atlas-small")
    expect(shown.locator(".mp-table tbody tr")).to_have_count(len(only))
    assert {(row[0], row[2]) for row in rows(shown)} == {(key[0], written(value)) for key, value in only.items()}


def test_a_custom_period_includes_both_of_its_days(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"])
    sums = customer.tokens_by("%Y-%m-%d")
    days = sorted(day for (day,) in sums)[-10:-7]

    choose(shown.get_by_role("radio", name="Custom period"))
    shown.get_by_label("From", exact=True).fill(days[0])
    shown.get_by_label("To, included").fill(days[-1])

    expect(shown.locator(".mp-table tbody tr")).to_have_count(3)
    assert total(shown) == written(sum((sums[(day,)] for day in days), Decimal()))
    assert f"period={days[0]}..{days[-1]}" in shown.url


def test_the_zone_moves_the_windows(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"])
    total(shown)

    shown.get_by_label("Time zone").select_option("Asia/Calcutta")

    expect(shown.locator(".mp-chart")).to_have_attribute("aria-label", re.compile("Asia/Calcutta"))
    start = shown.locator(".mp-table tbody time").first.get_attribute("datetime")
    assert start is not None
    assert start.endswith("T00:00:00+05:30")


def test_a_token_is_never_sent_in_an_address_and_leaves_the_address_bar(page: Open, customer: Customer) -> None:
    token = customer.token()["token"]
    opened = page()
    asked: list[Request] = []
    opened.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - marked by the library

    show(opened, customer, token)
    total(opened)

    assert "token" not in opened.url.replace("meter=tokens", "")
    assert [request.url for request in asked if token in request.url.partition("#")[0]] == []
    assert [request.url for request in asked if not request.url.startswith((customer.url, "data:", "blob:"))] == []
    assert asked[-1].headers.get("referer", "") == ""
    opened.reload()
    assert total(opened) == written(sum(customer.tokens_by(DAY).values(), Decimal()))
    elsewhere = page()
    elsewhere.goto(f"{customer.url}/portal")
    expect(elsewhere.get_by_role("heading", level=2)).to_have_text("No usage link")


def test_what_rarely_changes_is_asked_for_once(page: Open, customer: Customer) -> None:
    """Before, the answer changed how often to ask, and the page asked again at once."""
    opened = page()
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url.partition("/api/v1/portal/")[2]))

    show(opened, customer, customer.token()["token"])
    expect(opened.locator(".mp-course")).to_have_count(4)

    assert [path for path in asked if path in ("meters", "subject")] == ["meters", "subject"]


def test_events_show_without_a_reload_and_nothing_is_asked_while_hidden(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&refresh=0.5")
    before = total(shown)
    customer.send((now(), {"tokens": "0.004", "model": "vision", "type": "input", "ms": 1}))
    after = written(sum(customer.tokens_by(DAY).values(), Decimal()))

    expect(shown.locator(".mp-total strong")).to_have_text(after)
    assert before != after

    asked: list[Request] = []
    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    shown.evaluate(f"{hide} document.dispatchEvent(new Event('visibilitychange')) }}", True)
    shown.wait_for_timeout(1000)
    shown.on("request", lambda request: asked.append(request))  # noqa: PLW0108
    shown.wait_for_timeout(2000)
    assert asked == []
    shown.evaluate(f"{hide} document.dispatchEvent(new Event('visibilitychange')) }}", False)
    shown.wait_for_timeout(1000)
    assert asked != []


def test_the_csv_is_what_the_api_answers_with_a_mark_for_spreadsheets(
    page: Open, customer: Customer, tmp_path: Path
) -> None:
    token = customer.token()["token"]
    shown = show(page(), customer, token, "meter=tokens&group=model")
    total(shown)

    with shown.expect_download() as download:
        shown.get_by_role("button", name="Download CSV").click()
    download.value.save_as(tmp_path / "usage.csv")

    text = (tmp_path / "usage.csv").read_bytes().decode()
    asked = {"windowSize": "DAY", "windowTimeZone": "Europe/Berlin", "groupBy": "model"}
    assert text == "\ufeff" + customer.csv(token, "tokens", **asked)
    assert re.fullmatch(r"tokens_\d{4}-\d\d-\d\d_\d{4}-\d\d-\d\d\.csv", download.value.suggested_filename)


def test_the_keyboard_reaches_and_works_everything(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens")
    total(shown)
    shown.wait_for_selector(".mp-course")

    reached = []
    for _ in range(40):
        shown.keyboard.press("Tab")
        reached.append(
            shown.evaluate("(at => at.getAttribute('aria-label') || at.innerText || at.id)(document.activeElement)")
        )
    names = " | ".join(str(name).replace("\n", " ") for name in reached)

    for wanted in ("Live", "API calls", "Download CSV", "Last 30 days", "model", "Day ↓", "Table: Tokens"):
        assert wanted in names, (wanted, names)
    shown.get_by_role("radio", name="Last 30 days").focus()
    shown.keyboard.press("ArrowLeft")
    expect(shown.get_by_role("radio", name="Last 7 days")).to_be_checked()
    expect(shown.locator(".mp-table tbody tr")).to_have_count(7)


def test_the_theme_can_be_chosen_and_stays(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"])
    expect(shown.locator(".mp")).to_have_attribute("data-theme", "light")

    shown.get_by_label("Colours").select_option("dark")

    expect(shown.locator(".mp")).to_have_attribute("data-theme", "dark")
    shown.reload()
    expect(shown.locator(".mp")).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize(
    ("device", "scheme"),
    [
        ("desktop", "light"),
        ("phone", "dark"),
        pytest.param("desktop", "dark", marks=pytest.mark.only_long),
        pytest.param("phone", "light", marks=pytest.mark.only_long),
    ],
)
def test_axe_finds_nothing_serious_and_nothing_leaves_the_screen(
    page: Open, customer: Customer, device: str, scheme: str
) -> None:
    shown = show(page(device, scheme), customer, customer.token()["token"], "meter=tokens&group=model")
    total(shown)
    shown.wait_for_selector(".mp-course")
    shown.wait_for_timeout(400)

    assert audit(shown) == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    "view",
    [
        "token=om_portal_x.y",
        "meter=idle",
        pytest.param("", marks=pytest.mark.only_long),
        pytest.param("meter=tokens&period=2026-01-01..2026-01-02", marks=pytest.mark.only_long),
    ],
)
def test_axe_finds_nothing_serious_in_other_states(page: Open, customer: Customer, view: str) -> None:
    opened = page()
    opened.goto(f"{customer.url}/portal#{view if view.startswith('token') or not view else ''}")
    if view.startswith("meter"):
        opened.goto("about:blank")
        show(opened, customer, customer.token()["token"], view)
        total(opened)
    opened.wait_for_selector("h2")

    assert audit(opened) == []


def test_it_is_light(page: Open, customer: Customer) -> None:
    opened = page()
    show(opened, customer, customer.token()["token"])
    total(opened)

    weight = opened.evaluate(
        """() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
          .filter(entry => !entry.name.includes('/api/')).reduce((sum, entry) => sum + entry.transferSize, 0)"""
    )
    print(f"\nthe page weighs {weight:,} bytes")

    assert 0 < weight <= WEIGHT_LIMIT
