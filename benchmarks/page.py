"""From a navigation to a customer's first usage on the page at /portal, against the same page with nothing to ask.

A real `meterport serve` and the system's own Chromium, headless; each navigation has a fresh cache. Without a token the
page loads and paints the same files and says that it needs one: what is beyond that is two answers and a chart.
"""

import statistics

from playwright.sync_api import Browser

from benchmarks import world
from tests.portal.browser import chromium
from tests.portal.customer import Customer, a_month, now

TRIES = 15
_USAGE = ("meterport:usage", ".mp-total strong")  # what marks the moment, and what is there from then on
_PAINT = ("first-contentful-paint", ".mp-notice")


def run(events: int) -> list[str]:  # noqa: ARG001 - a customer's month is what a page shows
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
        f"{median / statistics.median(empty):.2f} times until usage is seen, of the page without a token",
        f"{median:.0f} ms in the median, {min(usage):.0f} to {max(usage):.0f} of {TRIES}; aim: under 1000 ms",
    ]


def _milliseconds(browser: Browser, url: str, mark: str, shown: str) -> float:
    """Return how long after the beginning of a navigation a page set a mark."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(shown)
    found = float(page.evaluate("mark => performance.getEntriesByName(mark)[0].startTime", mark))
    context.close()
    return found
