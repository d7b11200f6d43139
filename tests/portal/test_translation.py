"""A browser's translator rewrites the texts of a page: they stay correct after each refresh and each choice.

The translator is simulated: it replaces each text with its own elements, at once and whenever a new text appears.
"""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.harness.long_form import LONG
from tests.portal.browser import choose
from tests.portal.conftest import Open
from tests.portal.customer import Customer, now
from tests.portal.page import point_at_last_window, settle, show

# Translators may or may not respect translate="no", so both are simulated.
TRANSLATOR = """respects => addEventListener('DOMContentLoaded', () => {
  const replace = (text) => {
    const parent = text.parentElement
    if (!text.data.trim() || !parent || parent.closest('font, script, style')) return
    if (respects && parent.closest('[translate=no]')) return
    const [outer, inner] = [document.createElement('font'), document.createElement('font')]
    inner.textContent = text.data
    outer.append(inner)
    text.replaceWith(outer)
  }
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) replace(node)
    else for (const child of [...node.childNodes]) walk(child)
  }
  walk(document.body)
  new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes) {
      if (type === 'characterData') replace(target)
      else for (const node of addedNodes) walk(node)
    }
  }).observe(document.body, { childList: true, characterData: true, subtree: true })
})"""
READ = "at => at.innerText.replace(/Updated.*/, '')"


def shown_alike(*pages: Page) -> None:
    """Wait until all pages show the same."""
    for _ in range(100):
        settle(pages[0])
        texts = [opened.locator(".mp").evaluate(READ) for opened in pages]
        if len({*texts}) == 1:
            return
        pages[0].wait_for_timeout(100)
    assert texts == texts[:1] * len(pages)


def choices(today: str) -> list[Callable[[Page], object]]:
    """Return the actions of a reader, in order. The short form has those that draw the most."""
    actions: list[Callable[[Page], object]] = [
        lambda opened: choose(opened.get_by_role("radio", name="Last 7 days")),
        lambda opened: opened.get_by_role("combobox", name="Per", exact=True).select_option("HOUR"),
        lambda opened: opened.locator(".mp-sort").click(),
        lambda opened: opened.get_by_role("button", name="Show more").click(),
        lambda opened: choose(opened.get_by_role("radio", name="Custom period")),
        lambda opened: opened.get_by_label("To, included").fill(today),
        lambda opened: choose(opened.get_by_role("checkbox", name="model"), False),
        lambda opened: choose(opened.get_by_role("radio", name="Last 30 days")),
        lambda opened: opened.get_by_role("button", name=re.compile("^API calls")).click(),
        lambda opened: opened.get_by_role("button", name=re.compile("^Tokens")).click(),
    ]
    return actions if LONG else actions[:4]


@pytest.fixture(scope="module")
def busy(customer: Customer) -> Customer:
    another = customer.another()
    hours = (now() - timedelta(hours=hours) for hours in range(60))
    another.send(*((at, {"tokens": "1.5", "model": "m", "type": "t", "ms": 5}) for at in hours))
    return another


def test_a_translated_page_shows_what_the_other_one_does(page: Open, busy: Customer) -> None:
    """N11: before, totals, cards and the legend froze, because their numbers were beside other texts.

    One translator touches numbers, the other one respects translate="no".
    """
    pages = plain, touched, respected = page(), page(), page()
    touched.add_init_script(f"({TRANSLATOR})(false)")
    respected.add_init_script(f"({TRANSLATOR})(true)")
    token = busy.token(allowedMeterSlugs=["calls", "tokens"])["token"]
    view = "meter=tokens&group=model&units=tokens:tokens,calls:calls&refresh=5"
    for opened in pages:
        show(opened, busy, token, view)
        settle(opened)
        opened.wait_for_selector(".mp-course")
    for translated in (touched, respected):
        expect(translated.locator("font").first).to_be_attached()
    shown_alike(*pages)

    busy.send((now(), {"tokens": "1000", "model": "m", "type": "t", "ms": 5}))
    expect(plain.locator(".mp-total strong")).to_contain_text("1,")
    shown_alike(*pages)
    for act in choices(f"{now():%Y-%m-%d}"):
        for opened in pages:
            act(opened)
            settle(opened)
        shown_alike(*pages)

    for opened in pages:
        opened.context.set_offline(True)
        expect(opened.get_by_role("button", name="Trying again")).to_be_visible()
        assert "Trying again" in opened.locator(".mp-live").inner_text()
    for opened in pages:
        opened.context.set_offline(False)
    for opened in pages:
        expect(opened.get_by_role("alert")).to_have_count(0)
    shown_alike(*pages)


NUMBERS = """() => {
  const found = []
  const walker = document.createTreeWalker(document.querySelector('.mp'), NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (/^[\\s\\d.,…−×⁰¹²³⁴⁵⁶⁷⁸⁹⁻KMBT]*\\d[\\s\\d.,…−×⁰¹²³⁴⁵⁶⁷⁸⁹⁻KMBT]*$/.test(node.data)) {
      const parent = node.parentElement
      found.push([node.data, parent.childNodes.length, parent.translate])
    }
  }
  return found
}"""


def test_each_number_stands_alone_in_an_element_that_is_not_translated(page: Open, busy: Customer) -> None:
    """N11: this rule works with all translators."""
    shown = show(page(), busy, busy.token()["token"], "meter=tokens&period=7d&window=hour&group=model&refresh=0")
    settle(shown)
    shown.wait_for_selector(".mp-course")
    point_at_last_window(shown)

    numbers = shown.evaluate(NUMBERS)

    assert len(numbers) > 30  # how many windows have usage depends on the time of the day
    assert [number for number in numbers if number[1:] != [1, False]] == []
