"""A test opens the page at /portal, and reads its total, the rows of its table, and the end of its chart."""

from decimal import Decimal

from playwright.sync_api import Page, expect

from tests.portal.customer import Customer, written

DAY = "%a, %b %-d, %Y"  # as the page writes a day in English


def show(page: Page, customer: Customer, token: str, view: str = "meter=tokens") -> Page:
    page.goto(f"{customer.url}/portal#token={token}&{view}")
    return page


def settle(page: Page) -> None:
    """Wait until the page shows the answer to its last query."""
    expect(page.locator(".mp-panel[aria-busy=false] .mp-total strong")).to_be_visible()


def total(page: Page) -> str:
    settle(page)
    return page.inner_text(".mp-total strong")


def rows(page: Page) -> list[tuple[str, ...]]:
    """Return the texts of all rows of the table, without the notes on open windows."""
    settle(page)
    while page.get_by_role("button", name="Show more").count():
        page.get_by_role("button", name="Show more").click()
    return [tuple(row.locator("th time, td").all_inner_texts()) for row in page.locator(".mp-table tbody tr").all()]


def point_at_last_window(page: Page) -> None:
    """Move the pointer to the right end of the chart."""
    box = page.locator(".mp-chart").bounding_box()
    assert box is not None
    page.hover(".mp-chart", position={"x": box["width"] - 20, "y": 100})


def newest_first(sums: dict[tuple[str, ...], Decimal], customer: Customer, shape: str) -> list[tuple[str, ...]]:
    """Return the expected rows of the table: the latest window first, then the group values in reverse order."""
    order = {local: number for number, (local,) in enumerate(customer.tokens_by(shape))}
    ranked = sorted(sums, key=lambda key: key[1:], reverse=True)
    return [(*key, written(sums[key])) for key in sorted(ranked, key=lambda key: order[key[0]])]
