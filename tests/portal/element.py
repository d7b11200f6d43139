"""A site with another origin shows <meterport-usage>, and a test reads the total there."""

from contextlib import AbstractContextManager
from decimal import Decimal

from playwright.sync_api import Page, expect

from tests.portal.browser import site
from tests.portal.customer import Customer, written


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
