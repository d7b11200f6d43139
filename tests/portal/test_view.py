"""The view: what an address says, what the customer chooses, and where the focus is afterwards."""

import re

import pytest
from playwright.sync_api import Page, Request, expect

from tests.portal.browser import choose
from tests.portal.conftest import Open
from tests.portal.customer import Customer
from tests.portal.page import settle, show, total


def go(page: Page, fragment: str) -> None:
    page.evaluate("fragment => { location.hash = fragment }", fragment)


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.tagName"))


def test_an_address_opened_again_shows_what_it_says(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&period=7d")
    settle(shown)
    choose(shown.get_by_role("radio", name="Last 30 days"))
    expect(shown.locator(".mp-table tbody tr")).to_have_count(21)

    go(shown, "meter=tokens&period=7d")

    expect(shown.get_by_role("radio", name="Last 7 days")).to_be_checked()
    expect(shown.locator(".mp-table tbody tr")).to_have_count(7)


def test_what_was_typed_gives_way_to_another_address(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&filter=model:vision")
    settle(shown)
    shown.get_by_label("Only model").fill("atl")

    go(shown, "meter=tokens&filter=model:atlas-small&period=2026-11-01..2026-11-15")

    expect(shown.get_by_label("Only model")).to_have_value("atlas-small")
    shown.get_by_label("Only type").focus()  # the text that was typed before must not be queried now
    assert re.search("filter=model(:|%3A)atlas-small", shown.url)
    go(shown, "meter=tokens&period=2026-11-03..2026-11-05")
    expect(shown.get_by_label("From", exact=True)).to_have_value("2026-11-03")
    expect(shown.get_by_label("To, included")).to_have_value("2026-11-05")


def test_a_filter_that_is_cleared_leaves_nothing_and_keeps_the_focus(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&filter=model:vision")
    settle(shown)

    shown.get_by_role("button", name="Any model").click()

    expect(shown.get_by_label("Only model")).to_be_focused()
    assert "filter" not in shown.url


def test_a_zone_in_any_case_is_taken_and_an_offset_is_not(page: Open, customer: Customer) -> None:
    opened = page()
    show(opened, customer, customer.token()["token"], "meter=tokens&zone=utc")
    settle(opened)
    expect(opened.get_by_label("Time zone")).to_have_value("UTC")

    go(opened, "meter=tokens&zone=%2B01:00")

    expect(opened.get_by_label("Time zone")).to_have_value("Europe/Berlin")
    settle(opened)


@pytest.mark.parametrize("refresh", [pytest.param("1e12", marks=pytest.mark.only_long), "9999999"])
def test_a_long_pause_is_no_loop(page: Open, customer: Customer, refresh: str) -> None:
    opened = page()
    asked: list[Request] = []
    opened.on("request", lambda request: asked.append(request) if "/query" in request.url else None)
    show(opened, customer, customer.token()["token"], f"meter=tokens&refresh={refresh}")
    settle(opened)
    opened.wait_for_selector(".mp-course")

    opened.wait_for_timeout(2000)

    assert len(asked) < 50  # the chosen meter and four cards, a few times each; a loop asks hundreds of times


def test_meters_and_keys_may_have_names_every_object_has(page: Open, customer: Customer) -> None:
    meter = {"slug": "constructor", "eventType": "never", "aggregation": "COUNT", "groupBy": {"constructor": "$.x"}}
    with customer.having(meter):
        token = customer.token(allowedMeterSlugs=["constructor", "tokens"])["token"]
        shown = show(page(), customer, token, "units=tokens:t")

        settle(shown)

        assert total(shown) == "0"
        assert "function" not in shown.locator(".mp").inner_text()
        expect(shown.get_by_label("Only constructor")).to_have_value("")


def test_after_trying_again_the_focus_is_at_the_meter(page: Open, customer: Customer) -> None:
    opened = page()
    opened.route("**/tokens/query*", lambda route: route.fulfill(status=503, body="{}"))
    shown = show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0")
    expect(shown.get_by_role("alert")).to_be_visible()
    opened.unroute_all(behavior="wait")

    shown.get_by_role("button", name="Try again").click()

    settle(shown)
    assert focused(shown) == "H2"


def test_a_notice_takes_the_focus_of_what_it_replaces(page: Open, customer: Customer) -> None:
    token = customer.token()
    shown = show(page(), customer, token["token"], "meter=tokens&refresh=0.5")
    settle(shown)
    shown.get_by_role("radio", name="Last 30 days").focus()

    customer.revoke(token)

    expect(shown.locator(".mp-notice")).to_be_focused()


def test_live_says_so_while_requests_fail(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&refresh=0.5")
    settle(shown)

    shown.context.set_offline(True)

    expect(shown.get_by_role("button", name="Trying again")).to_be_visible()
    shown.context.set_offline(False)
    expect(shown.get_by_role("button", name="Live")).to_be_visible()


def test_a_download_that_fails_says_what_that_means(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&refresh=0")
    settle(shown)
    shown.context.set_offline(True)

    shown.get_by_role("button", name="Download CSV").click()

    expect(shown.get_by_role("alert")).to_have_text("Not downloaded: You are offline.")


def test_a_meter_without_groups_speaks_of_no_filters(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=idle")
    settle(shown)

    expect(shown.locator(".mp-notice p")).to_have_text("Choose another period.")


def test_nothing_unique_is_the_same_on_its_card(page: Open, customer: Customer) -> None:
    counted = {"eventType": "never", "aggregation": "UNIQUE_COUNT", "valueProperty": "$.u"}
    with customer.having({"slug": "users", "name": "Users", **counted}):
        shown = show(page(), customer, customer.token(allowedMeterSlugs=["users", "tokens"])["token"], "meter=users")

        assert total(shown) == "0"
        expect(shown.get_by_role("button", name=re.compile("^Users")).locator(".mp-card-total")).to_have_text("0")


def test_who_asks_too_often_waits_as_long_as_told(page: Open, customer: Customer) -> None:
    opened = page()
    asked: list[Request] = []
    opened.on("request", lambda request: asked.append(request) if "/tokens/query" in request.url else None)
    told = {"Retry-After": "60", "Content-Type": "application/problem+json"}
    opened.route("**/tokens/query*", lambda route: route.fulfill(status=429, body="{}", headers=told))
    token = customer.token(allowedMeterSlugs=["tokens"])["token"]
    show(opened, customer, token, "meter=tokens&refresh=0.5")
    expect(opened.get_by_role("alert")).to_be_visible()

    opened.wait_for_timeout(4000)

    assert len(asked) <= 4


def test_a_theme_that_was_chosen_stays_whatever_the_link_said(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&period=7d&theme=dark")
    settle(shown)
    expect(shown.locator(".mp")).to_have_attribute("data-theme", "dark")

    shown.get_by_label("Colours").select_option("light")

    shown.reload()
    settle(shown)
    expect(shown.locator(".mp")).to_have_attribute("data-theme", "light")
    assert "period=7d" in shown.url
    go(shown, "meter=tokens&theme=dark")
    expect(shown.locator(".mp")).to_have_attribute("data-theme", "dark")


def test_a_filter_keeps_its_spaces_in_the_address(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens")
    settle(shown)
    shown.get_by_label("Only model").fill(" atlas ")
    shown.keyboard.press("Enter")
    settle(shown)

    shown.reload()

    expect(shown.get_by_label("Only model")).to_have_value(" atlas ")


def test_another_token_alone_changes_nothing_of_what_is_looked_at(page: Open, customer: Customer) -> None:
    view = "meter=tokens&period=7d&group=model&units=tokens:t"
    shown = show(page(), customer, customer.token()["token"], view)
    settle(shown)
    address = shown.url

    go(shown, f"token={customer.token()['token']}")

    expect(shown).to_have_url(address)
    settle(shown)
    expect(shown.get_by_role("radio", name="Last 7 days")).to_be_checked()
    assert total(shown).endswith(" t")
