"""What a customer may click stays in its place while answers arrive. If it moves during a click, the click is lost."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from tests.portal.conftest import Open
from tests.portal.customer import Customer, now
from tests.portal.page import settle, show

CONTROLS = ".mp :is(button, input, select)"
PLACES = f"""() => [...document.querySelectorAll('{CONTROLS}')].map((control) => {{
    const box = control.getBoundingClientRect()
    return `${{control.ariaLabel ?? control.innerText.split('\\n')[0]}} at ${{box.x}}, ${{box.y}}`
}})"""
FIRST_PERIODS = """
new MutationObserver((_, observer) => {
  const labels = [...document.querySelectorAll('.mp-segments label')].map((label) => label.innerText)
  if (labels.length === 0) return
  window.firstPeriods = labels
  observer.disconnect()
}).observe(document, { childList: true, subtree: true })
"""


def hold(page: Page, path: str) -> Callable[[], None]:
    """Hold the answers of a path. Return a function that lets them go."""
    held: list[Route] = []
    released = threading.Event()
    page.route(path, lambda route: route.continue_() if released.is_set() else held.append(route))

    def release() -> None:
        released.set()
        for route in held:
            route.continue_()

    return release


def wait_for_cards(page: Page) -> None:
    """Wait until every card shows its usage, which is loaded last."""
    expect(page.locator(".mp-course")).to_have_count(page.locator(".mp-card").count())


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_answers_move_no_control(page: Open, customer: Customer, device: str) -> None:
    opened = page(device)
    release = hold(opened, "**/query*")
    show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0")
    opened.wait_for_selector(".mp-controls")
    before = opened.evaluate(PLACES)
    assert before

    release()
    wait_for_cards(opened)

    places = opened.evaluate(PLACES)
    assert [place for place in before if place not in places] == []


def test_a_click_during_which_an_answer_arrives_is_not_lost(page: Open, customer: Customer) -> None:
    opened = page()
    opened.goto(f"{customer.url}/portal#token={customer.token()['token']}&meter=tokens&refresh=0")
    settle(opened)
    release = hold(opened, "**/query*")
    opened.reload()
    week = opened.get_by_role("radio", name="Last 7 days")
    week.hover()

    opened.mouse.down()
    release()
    wait_for_cards(opened)
    opened.mouse.up()

    expect(week).to_be_checked()


def test_the_current_period_is_among_the_first_choices_that_are_shown(page: Open, customer: Customer) -> None:
    """Its answer is awaited, because a choice that comes later moves the others. With a new token it stays."""
    billed = customer.another()
    billed.send((now(), {"tokens": "1", "model": "m", "type": "t", "ms": 1}))
    billed.describe(currentPeriodStart=(now() - timedelta(days=1)).isoformat())
    opened = page()
    opened.add_init_script(FIRST_PERIODS)
    release = hold(opened, "**/portal/subject")
    with opened.expect_response("**/portal/meters"):
        show(opened, billed, billed.token()["token"], "meter=tokens&period=7d&refresh=0")
    opened.wait_for_timeout(200)
    release()
    settle(opened)
    assert "Current period" in opened.evaluate("firstPeriods")

    release = hold(opened, "**/portal/subject")
    with opened.expect_response("**/portal/meters"):
        opened.evaluate("token => { location.hash = `#token=${token}` }", billed.token()["token"])
    settle(opened)
    assert opened.get_by_role("radio", name="Current period").count() == 1
    release()


def test_periods_can_be_chosen_while_the_current_one_cannot_be_asked(page: Open, customer: Customer) -> None:
    opened = page()
    opened.route("**/portal/subject", lambda route: route.abort())
    show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0")

    settle(opened)

    expect(opened.get_by_role("radio", name="Last 7 days")).to_be_visible()
    assert opened.get_by_role("radio", name="Current period").count() == 0
