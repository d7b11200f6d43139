"""OpenMeter's SDK in a browser, on a site with another origin, gets usage, and errors with our detail."""

from tests.portal.browser import SOURCES, site
from tests.portal.conftest import Open, Serve
from tests.portal.customer import ZONE, Customer

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
