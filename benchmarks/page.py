"""The time from navigating to /portal until usage is visible, compared with the same page without a token.

A real `meterport serve` and the system's Chromium, headless. Each navigation has an empty cache. Without a token the
page loads the same files and shows that it needs one. The difference is two answers of the API and a chart.
"""

import statistics

from playwright.sync_api import Browser

from benchmarks import world
from tests.portal.browser import chromium
from tests.portal.customer import Customer, a_month, now

TRIES = 15
_USAGE = (
    "meterport:usage",
    ".mp-total strong",
)  # the performance mark, and the selector of what is visible from then on
_PAINT = ("first-contentful-paint", ".mp-notice")


def run(events: int) -> list[str]:  # noqa: ARG001 - the page always shows one month of a customer
    """Measure and return the lines to print."""
    with world.scratch() as directory, chromium() as browser:
        customer = Customer(directory)
        try:
            customer.send(*a_month(now()))
            token = customer.token()["token"]
            usage, empty = [], []
            for _ in range(TRIES):
                usage.append(_milliseconds(browser, f"{customer.url}/portal#token={token}&meter=tokens", *_USAGE))
                empty.append(_milliseconds(browser, f"{customer.url}/portal", *_PAINT))
        finally:
            customer.close()
    median = statistics.median(usage)
    return [
        f"{median / statistics.median(empty):.2f} times the time of the page without a token until usage is visible",
        f"{median:.0f} ms median, {min(usage):.0f} to {max(usage):.0f} ms in {TRIES} tries; the aim is under 1000 ms",
    ]


def _milliseconds(browser: Browser, url: str, mark: str, shown: str) -> float:
    """Return the milliseconds from the start of a navigation until the page sets a performance mark."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(shown)
    found = float(page.evaluate("mark => performance.getEntriesByName(mark)[0].startTime", mark))
    context.close()
    return found
