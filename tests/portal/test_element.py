"""<meterport-usage> on a site with another origin: attributes and properties change it, and styles do not break it."""

import re

import pytest
from playwright.sync_api import expect

from tests.portal.browser import Complaints, audit, site
from tests.portal.conftest import Open, Serve
from tests.portal.customer import Customer
from tests.portal.element import all_tokens, embedding, shop, total


def test_it_shows_usage_across_origins_under_a_strict_policy(
    page: Open, customer: Customer, complaints: Complaints, serve: Serve
) -> None:
    token = customer.token()["token"]
    url = serve(
        shop(customer, f'token="{token}" meters="tokens" group-by="model" units="tokens:tokens" locale="en-US"')
    )
    opened = page()

    opened.goto(url)

    assert total(opened) == f"{all_tokens(customer)} tokens"
    expect(opened.locator(".mp-legend li")).to_have_count(3)
    assert opened.locator(".mp-card").count() == 0
    assert complaints == ["Failed to load resource: the server responded with a status of 404 (Not Found)"] * (
        len(complaints)  # the site's favicon
    )
    assert audit(opened) == []


# As the tracing of a site does: it wraps `fetch` and adds headers to each request.
TRACING = """const plain = fetch
window.fetch = (resource, options) => {
  const request = new Request(resource, options)
  request.headers.set('baggage', 'sentry-release=1')
  request.headers.set('sentry-trace', '0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1')
  request.headers.set('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')
  request.headers.set('cache-control', 'no-cache')
  return plain(request)
}"""


def test_it_shows_usage_where_the_tracing_of_a_site_adds_headers(page: Open, customer: Customer, serve: Serve) -> None:
    """Case N13: before, the preflight allowed only a fixed list of headers."""
    token = customer.token()["token"]
    url = serve(shop(customer, f'token="{token}" meters="tokens" units="tokens:tokens" locale="en-US"', TRACING))
    opened = page()

    opened.goto(url)

    assert total(opened) == f"{all_tokens(customer)} tokens"


def test_only_the_parts_asked_for_are_shown(page: Open, customer: Customer, serve: Serve) -> None:
    token = customer.token()["token"]
    url = serve(shop(customer, f'token="{token}" meter="tokens" show="total chart" period="7d"'))
    opened = page("phone")

    opened.goto(url)

    total(opened)
    assert opened.locator(".mp-chart").count() == 1
    assert [opened.locator(one).count() for one in (".mp-table", ".mp-controls", ".mp-card", ".mp-download")] == [0] * 4
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_attributes_and_properties_change_what_is_shown(page: Open, customer: Customer, serve: Serve) -> None:
    url = serve(shop(customer, f'token="{customer.token()["token"]}" meter="tokens"'))
    opened = page()
    opened.goto(url)
    total(opened)

    opened.evaluate("document.querySelector('meterport-usage').setAttribute('meter', 'calls')")

    expect(opened.locator(".mp-total strong")).to_have_text(str(len(customer.events)))
    opened.evaluate("document.querySelector('meterport-usage').setAttribute('theme', 'dark')")
    expect(opened.locator(".mp")).to_have_attribute("data-theme", "dark")
    opened.evaluate("document.querySelector('meterport-usage').token = null")
    expect(opened.get_by_text("Loading")).to_be_attached()
    assert opened.locator(".mp-total").count() == 0


def test_every_attribute_is_a_property(page: Open, customer: Customer, serve: Serve) -> None:
    """They can be set before or after the script is loaded, as lists and maps, so that values may contain spaces."""
    token = customer.token()["token"]
    early = f"""
      const usage = document.querySelector('meterport-usage')
      Object.assign(usage, {{token: '{token}', meters: ['tokens', 'calls'], units: {{tokens: 'k tokens'}}, period: '7d',
        groupBy: ['model'], timeZone: 'Asia/Tokyo', show: ['total', 'chart'], locale: 'en-US', refresh: 0}})"""
    element, script = re.findall("<script.*</script>", embedding(customer, "", early))
    html = f"<!doctype html><title>Shop</title>{script}{element}<meterport-usage></meterport-usage>"
    opened = page()
    opened.goto(serve(site({"/": html, "/site.js": early}.get)))

    assert total(opened).endswith(" k tokens")
    expect(opened.locator(".mp-chart")).to_have_attribute("aria-label", re.compile("per day.*Asia/Tokyo"))
    assert opened.locator(".mp-table").count() == 0
    properties = "({meters, groupBy, units, timeZone, refresh, filters, heading}) => "
    element = opened.locator("meterport-usage")
    assert element.evaluate(f"{properties} [meters, groupBy, units, timeZone, refresh, filters, heading]") == [
        ["tokens", "calls"], ["model"], {"tokens": "k tokens"}, "Asia/Tokyo", "0", None, None,
    ]  # fmt: skip
    element.evaluate("usage => { usage.filters = {model: 'atlas large'}; usage.show = null; usage.heading = 'Yours' }")
    expect(opened.get_by_label("Only model")).to_have_value("atlas large")
    expect(opened.get_by_role("heading", name="Yours")).to_be_visible()


@pytest.mark.parametrize("locale", ["de_DE", pytest.param("de-de", marks=pytest.mark.only_long)])
def test_a_locale_may_be_written_as_others_write_it(page: Open, customer: Customer, serve: Serve, locale: str) -> None:
    url = serve(shop(customer, f'token="{customer.token()["token"]}" meter="tokens" locale="{locale}"'))
    opened = page()

    opened.goto(url)

    assert total(opened) == all_tokens(customer).translate(str.maketrans(",.", ".,"))


def test_a_locale_that_is_none_is_the_browsers(page: Open, customer: Customer, serve: Serve) -> None:
    url = serve(shop(customer, f'token="{customer.token()["token"]}" meter="tokens" locale="no such thing"'))
    opened = page()

    opened.goto(url)

    assert total(opened) == all_tokens(customer)


def test_as_a_module_it_asks_where_it_came_from(page: Open, customer: Customer, serve: Serve) -> None:
    html = embedding(customer, f'token="{customer.token()["token"]}" meter="tokens"').replace(
        " defer>", ' type="module">'
    )
    opened = page()

    opened.goto(serve(site({"/": html}.get)))

    assert total(opened) == all_tokens(customer)


def test_custom_properties_reach_in_and_other_styles_do_not(page: Open, customer: Customer, serve: Serve) -> None:
    rules = "meterport-usage { --meterport-accent: rgb(1, 120, 60) } strong, button { color: red !important }"
    url = serve(
        shop(
            customer,
            f'token="{customer.token()["token"]}" meter="tokens" group-by="model"',
            style=f"<style>{rules}</style>",
        )
    )
    opened = page()

    opened.goto(url)

    total(opened)
    chip, number = opened.locator(".mp-chip input:checked + span"), opened.locator(".mp-total strong")
    assert chip.evaluate("at => getComputedStyle(at).backgroundColor") == "rgb(1, 120, 60)"
    assert number.evaluate("at => getComputedStyle(at).color") == "rgb(21, 26, 35)"


def test_what_a_site_hands_down_does_not_reach_in(page: Open, customer: Customer, serve: Serve) -> None:
    rules = """body { direction: rtl; text-align: right; text-transform: uppercase; letter-spacing: 4px;
      white-space: nowrap; text-shadow: 1px 1px red; text-indent: 20px; font: italic 30px serif;
      visibility: hidden }"""
    token = customer.token()["token"]
    html = embedding(customer, f'token="{token}" meter="tokens"', style=f"<style>{rules}</style>")
    opened = page()
    opened.goto(serve(site({"/": html}.get)))
    expect(opened.locator(".mp-panel[aria-busy=false] .mp-total strong")).to_be_attached()

    heading = opened.locator(".mp-panel h2")
    names = ["direction", "text-align", "text-transform", "white-space", "text-shadow", "text-indent", "font-style"]
    style = "(at, names) => names.map(name => getComputedStyle(at).getPropertyValue(name))"
    assert heading.evaluate(style, names) == ["ltr", "start", "none", "normal", "none", "0px", "normal"]
    expect(heading).to_be_hidden()  # a site may hide it, as in a tab that is not open
    opened.add_style_tag(content="body { visibility: visible }")
    assert total(opened) == all_tokens(customer)
