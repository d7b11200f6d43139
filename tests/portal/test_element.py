"""<meterport-usage> on a site with another origin, and OpenMeter's SDK in the same browser."""

import re
from contextlib import AbstractContextManager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.portal.browser import SOURCES, Complaints, audit, site
from tests.portal.conftest import Open, Serve
from tests.portal.customer import ZONE, Customer, now, written


def embedding(customer: Customer, attributes: str, script: str = "", style: str = "") -> str:
    """Return a page that shows the element. `script` is a separate file, as the page's policy requires."""
    return f"""<!doctype html><html lang="en"><head><title>Shop</title>{style}
      <script src="{customer.url}/portal/meterport-usage.js" defer></script>
      {'<script src="/site.js" defer></script>' if script else ""}</head>
      <body><main><h1>Your account</h1><meterport-usage {attributes}></meterport-usage></main></body></html>"""


def shop(customer: Customer, attributes: str, script: str = "", style: str = "") -> AbstractContextManager[str]:
    policy = f"default-src 'none'; script-src 'self' {customer.url}; connect-src {customer.url}; style-src 'none'"
    pages = {"/": embedding(customer, attributes, script, style), "/site.js": script}
    return site(pages.get, {} if style else {"Content-Security-Policy": policy})


def total(page: Page) -> str:
    strong = page.locator(".mp-panel[aria-busy=false] .mp-total strong")
    expect(strong).to_be_visible()
    return strong.inner_text()


def all_tokens(customer: Customer) -> str:
    return written(sum(customer.tokens_by("%Y").values(), Decimal()))


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


def test_expiry_is_an_event_and_another_token_goes_on(page: Open, customer: Customer, serve: Serve) -> None:
    brief = customer.token(expiresAt=(now() + timedelta(seconds=4)).isoformat())["token"]
    fresh = customer.token()["token"]
    script = f"""
      const usage = document.querySelector('meterport-usage')
      usage.token = '{brief}'
      usage.addEventListener('meterport-expired', (event) => {{
        document.title = event.detail.reason
        setTimeout(() => {{ usage.token = '{fresh}' }}, 700)
      }})"""
    url = serve(shop(customer, 'meter="tokens" refresh="0.5"', script))
    opened = page()

    opened.goto(url)

    total(opened)
    assert opened.locator("meterport-usage").get_attribute("token") is None  # a property is not in the document
    expect(opened).to_have_title("expired")
    with opened.expect_response(lambda answer: answer.ok and "/query" in answer.url):
        pass
    assert total(opened) == all_tokens(customer)


def test_a_revoked_token_is_an_event_too(page: Open, customer: Customer, serve: Serve) -> None:
    token = customer.token()
    script = "document.addEventListener('meterport-expired', (event) => { document.title = event.detail.message })"
    url = serve(shop(customer, f'token="{token["token"]}" refresh="0.5"', script))
    opened = page()
    opened.goto(url)
    total(opened)

    customer.revoke(token)

    expect(opened.get_by_text("The session for usage has ended")).to_be_visible()
    assert opened.title() == "invalid token: revoked"


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


@pytest.mark.parametrize("locale", ["de_DE", "de-de"])
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


def test_where_the_views_fail_a_notice_stands(page: Open, customer: Customer, serve: Serve) -> None:
    broken = "Intl.NumberFormat = function () { throw new Error('broken') }"
    url = serve(shop(customer, f'token="{customer.token()["token"]}"', broken))
    opened = page()

    opened.goto(url)

    expect(opened.get_by_text("Usage cannot be shown")).to_be_visible()


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


BLOCKED = "Usage cannot be read from this site right now. If this continues, tell the people who run the site."


def test_an_origin_that_may_not_ask_is_told_so(page: Open, tmp_path: Path, serve: Serve) -> None:
    """N13: the page tells the customer whom to ask, and the console tells the site's operator what to check."""
    closed = Customer(tmp_path, {"METERPORT_SERVER__CORS_ORIGINS": '["https://app.example.com"]'})
    url = serve(shop(closed, f'token="{closed.token()["token"]}" refresh="0.5"'))
    opened = page()
    advice: list[str] = []
    opened.on("console", lambda message: advice.append(message.text) if message.type == "warning" else None)

    opened.goto(url)

    expect(opened.get_by_role("alert")).to_contain_text(BLOCKED)
    opened.wait_for_timeout(2000)
    assert len(advice) == 1  # although it asks repeatedly
    assert f"{closed.url} answers, but the browser does not let {url} read the answer" in advice[0]
    assert "server.cors_origins" in advice[0]
    closed.server.kill()
    expect(opened.get_by_role("alert")).to_contain_text("Usage cannot be reached right now.")
    closed.close()


def test_a_server_that_is_away_is_not_taken_for_one_that_refuses(page: Open, tmp_path: Path, serve: Serve) -> None:
    """N13: if nobody can reach the server, the site's operator is not told to check its settings."""
    gone = Customer(tmp_path)
    url = serve(shop(gone, f'token="{gone.token()["token"]}" meter="tokens" refresh="0.5"'))
    opened = page()
    advice: list[str] = []
    opened.on("console", lambda message: advice.append(message.text) if message.type == "warning" else None)
    opened.goto(url)
    total(opened)

    gone.server.kill()

    expect(opened.get_by_role("alert")).to_contain_text("Usage cannot be reached right now.")
    assert advice == []
    gone.close()


def test_a_refusal_of_the_api_is_told_in_words_for_people(page: Open, customer: Customer, serve: Serve) -> None:
    """Like N12: before, the customer saw the API's message for programs. Now it is behind "For support"."""
    opened = page()
    long = "x" * 9000  # longer than a filter text may be
    opened.goto(serve(shop(customer, f'token="{customer.token()["token"]}" meter="tokens" refresh="0"')))
    total(opened)

    opened.evaluate("text => { document.querySelector('meterport-usage').filters = {model: text} }", long)

    alert = opened.get_by_role("alert")
    expect(alert.locator("p")).to_contain_text("Usage cannot be shown like this.")
    assert not alert.locator("code").is_visible()
    alert.get_by_text("For support").click()
    expect(alert.locator("code")).to_contain_text("filterGroupBy")


def test_a_meter_that_was_deleted_is_said_to_be_gone(page: Open, customer: Customer) -> None:
    """Like N12."""
    customer.create({"slug": "brief", "name": "Brief", "eventType": "never", "aggregation": "COUNT"})
    opened = page()
    opened.goto(f"{customer.url}/portal#token={customer.token()['token']}&meter=brief&refresh=0.5")
    total(opened)

    customer.delete_meter("brief")

    expect(opened.get_by_role("alert")).to_contain_text("This meter no longer exists.")
    assert "not found" not in opened.locator(".mp").inner_text()


def test_a_frame_shows_the_page_only_where_the_setting_says_so(page: Open, tmp_path: Path, serve: Serve) -> None:
    pages: dict[str, str] = {}
    url, stranger = serve(site(pages.get)), serve(site(pages.get))
    framed = Customer(tmp_path, {"METERPORT_PORTAL__FRAME_ANCESTORS": f'["{url}"]'})
    framed.send((now(), {"tokens": "2.5", "model": "vision", "type": "input", "ms": 1}))
    token = framed.token()
    pages["/"] = (
        f'<title>-</title><iframe title="Usage" width="900" height="700" '
        f'src="{framed.url}/portal#token={token["token"]}&meter=tokens&refresh=0.5"></iframe>'
        "<script>onmessage = ({data}) => { document.title = data.type + ' ' + data.reason }</script>"
    )

    opened, refused = page(), page()
    opened.goto(url)
    refused.goto(stranger)

    expect(opened.frame_locator("iframe").locator(".mp-total strong")).to_have_text("2.5")
    refused.wait_for_timeout(1000)
    assert refused.frame_locator("iframe").locator(".mp").count() == 0
    framed.revoke(token)
    expect(opened).to_have_title("meterport-expired revoked")
    framed.close()


def test_nobody_frames_the_page_by_default(page: Open, customer: Customer, serve: Serve) -> None:
    html = f'<iframe title="Usage" src="{customer.url}/portal#token={customer.token()["token"]}"></iframe>'
    url = serve(site({"/": html}.get))
    opened = page()

    opened.goto(url)
    opened.wait_for_timeout(1000)

    assert opened.frame_locator("iframe").locator(".mp").count() == 0


SDK = """<!doctype html><title>SDK</title><script type="importmap">{"imports": {
  "@openmeter/sdk/portal": "/sdk/src/portal/index.js", "openapi-fetch": "/fetch/index.mjs"}}</script>
<script type="module">
  import { OpenMeter } from '@openmeter/sdk/portal'
  window.ask = async (baseUrl, portalToken, slug, windowTimeZone) => {
    try {
      const query = { windowSize: 'DAY', windowTimeZone, groupBy: ['model'] }
      const usage = await new OpenMeter({ baseUrl, portalToken }).query(slug, query)
      return [usage.data.length, usage.data[0].windowStart instanceof Date]
    } catch (error) {
      return [error.name, error.status, error.getField('detail'), error.message.endsWith(error.getField('detail'))]
    }
  }
</script>"""


def test_the_sdk_in_a_browser_gets_usage_and_errors_with_our_detail(
    page: Open, customer: Customer, serve: Serve
) -> None:
    packages = SOURCES / "node_modules"
    roots = {"sdk": packages / "@openmeter" / "sdk" / "dist", "fetch": packages / "openapi-fetch" / "dist"}

    def pages(path: str) -> str | None:
        _, name, *rest = path.split("/")
        if name not in roots:
            return SDK
        return roots[name].joinpath(*rest).read_text(encoding="utf-8")

    token = customer.token(allowedMeterSlugs=["tokens"])
    opened = page()
    opened.goto(serve(site(pages)))
    opened.wait_for_function("() => 'ask' in window")

    def ask(slug: str, with_token: str = token["token"]) -> list[object]:
        answer: list[object] = opened.evaluate("given => ask(...given)", [customer.url, with_token, slug, ZONE])
        return answer

    assert ask("tokens") == [len(customer.tokens_by("%F", "model")), True]
    assert ask("calls") == ["HTTPError", 401, "meter slug not allowed", True]
    assert ask("tokens", "om_portal_x.y") == ["HTTPError", 401, "invalid token: malformed", True]
    customer.revoke(token)
    assert ask("tokens") == ["HTTPError", 401, "invalid token: revoked", True]
