"""Time zones that a browser, a link or the server does not know: the page falls back to UTC, and says so."""

import pytest
from playwright.sync_api import Page, expect

from tests.portal.browser import choose, chromium, site
from tests.portal.conftest import Open, Serve
from tests.portal.customer import Customer
from tests.portal.element import embedding
from tests.portal.page import settle, show

SILENT = "This browser does not say its time zone. Times are in UTC."
SAYS = """zone => {
  const { resolvedOptions } = Intl.DateTimeFormat.prototype
  const { DateTimeFormat } = Intl
  Intl.DateTimeFormat.prototype.resolvedOptions = function () {
    const options = resolvedOptions.call(this)
    return { ...options, timeZone: options.timeZone === own ? zone : options.timeZone }
  }
  const own = resolvedOptions.call(new DateTimeFormat()).timeZone
}"""

ALWAYS_SAYS = """zone => {
  const { resolvedOptions } = Intl.DateTimeFormat.prototype
  Intl.DateTimeFormat.prototype.resolvedOptions = function () {
    return { ...resolvedOptions.call(this), timeZone: zone }
  }
}"""


def in_utc(shown: Page) -> None:
    """Check that usage is shown, in UTC."""
    settle(shown)
    start = shown.locator(".mp-table tbody time").first.get_attribute("datetime") or ""
    assert start.endswith("T00:00:00Z")
    expect(shown.get_by_label("Time zone")).to_have_value("UTC")


@pytest.mark.parametrize("zone", ["Foo/Bar", pytest.param(":/etc/localtime", marks=pytest.mark.only_long)])
def test_a_computer_without_a_zone_sees_usage_in_utc(customer: Customer, zone: str) -> None:
    """N14: then Chromium reports Etc/Unknown, which it does not accept itself."""
    with chromium(variables={"TZ": zone}) as browser:
        opened = browser.new_page(locale="en-US")
        show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0")
        said = opened.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")

        in_utc(opened)
        remarks = opened.locator(".mp-remark").all_inner_texts()
        assert remarks == ([SILENT] if said == "Etc/Unknown" else [])


@pytest.mark.parametrize(
    "says",
    [
        "'Mars/Olympus'",
        *(pytest.param(says, marks=pytest.mark.only_long) for says in ("undefined", "''", "'Etc/Unknown'", "'+05:30'")),
    ],
)
def test_whatever_a_browser_says_that_is_no_zone_is_utc(page: Open, customer: Customer, says: str) -> None:
    """N14: only the last but one already worked before."""
    opened = page()
    opened.add_init_script(f"({SAYS})({says})")
    show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0")

    in_utc(opened)
    expect(opened.locator(".mp-remark")).to_have_text(SILENT)
    opened.get_by_label("Time zone").select_option("Asia/Tokyo")
    settle(opened)
    expect(opened.locator(".mp-remark")).to_have_count(0)


@pytest.mark.parametrize("says", [pytest.param("", marks=pytest.mark.only_long), "Mars/Phobos"])
def test_a_browser_that_says_no_zone_of_any_formatter_shows_usage_in_utc(
    page: Open, customer: Customer, says: str
) -> None:
    """D8: before, `resolvedOptions` gave the same wrong zone for UTC, and the page ended with a RangeError."""
    opened = page()
    opened.add_init_script(f"({ALWAYS_SAYS})('{says}')")
    show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0")

    in_utc(opened)
    expect(opened.locator(".mp-remark")).to_have_text(SILENT)
    opened.get_by_label("Time zone").select_option("Asia/Tokyo")
    settle(opened)
    expect(opened.locator(".mp-remark")).to_have_count(0)
    expect(opened.get_by_label("Time zone")).to_have_value("Asia/Tokyo")


def test_the_element_falls_back_to_utc_too(page: Open, customer: Customer, serve: Serve) -> None:
    """N14."""
    opened = page()
    opened.add_init_script(f"({SAYS})('Etc/Unknown')")
    html = embedding(customer, f'token="{customer.token()["token"]}" meter="tokens" locale="en-US"')
    opened.goto(serve(site({"/": html}.get)))

    in_utc(opened)
    expect(opened.locator(".mp-remark")).to_have_text(SILENT)


def test_a_zone_the_server_does_not_know_is_utc_and_named(page: Open, customer: Customer) -> None:
    """N14: browsers know some zones that are not in the IANA data."""
    opened = page()
    show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0&zone=SystemV/PST8PDT")

    in_utc(opened)
    known = "The time zone SystemV/PST8PDT is not known here. Times are in UTC."
    expect(opened.locator(".mp-remark")).to_have_text(known)
    expect(opened.get_by_role("alert")).to_have_count(0)
    choose(opened.get_by_role("radio", name="Last 7 days"))
    settle(opened)
    expect(opened.locator(".mp-remark")).to_have_text(known)
    opened.get_by_label("Time zone").select_option("Asia/Tokyo")
    settle(opened)
    expect(opened.locator(".mp-remark")).to_have_count(0)
    expect(opened.locator(".mp-card-total").first).not_to_have_text("…")


def test_what_a_reload_does_not_mend_asks_for_no_reload(page: Open, customer: Customer, serve: Serve) -> None:
    """N14: this holds if the views fail, and if a site gave an invalid token."""
    broken, refused = page(), page()
    broken.add_init_script("Intl.DateTimeFormat.prototype.formatRange = () => { throw new Error('broken') }")
    show(broken, customer, customer.token()["token"], "meter=tokens")
    refused.goto(serve(site({"/": embedding(customer, 'token="om_portal_x.y"')}.get)))

    expect(broken.get_by_text("Usage cannot be shown")).to_be_visible()
    expect(refused.get_by_text("Usage cannot be opened")).to_be_visible()
    for opened in (broken, refused):
        assert "reload" not in opened.locator(".mp").inner_text().lower()
