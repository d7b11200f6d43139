"""The page says why it shows no usage or older usage: an ended token, an empty period, an error, no connection."""

import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from playwright.sync_api import Route, expect

from tests.portal.conftest import Open
from tests.portal.customer import Customer, now, written
from tests.portal.page import DAY, show, total


def test_an_expired_token_says_so_and_is_forgotten(page: Open, customer: Customer) -> None:
    brief = customer.token(expiresAt=(now() + timedelta(seconds=5)).isoformat())["token"]
    shown = show(page(), customer, brief, "refresh=0.5")
    total(shown)

    expect(shown.get_by_role("heading", level=2)).to_have_text("This link has expired")
    assert shown.locator(".mp-total").count() == 0
    assert shown.evaluate("sessionStorage.length") == 0


def test_a_revoked_token_says_so_and_another_one_opens_the_page_again(page: Open, customer: Customer) -> None:
    token = customer.token()
    shown = show(page(), customer, token["token"], "meter=tokens&refresh=0.5")
    total(shown)

    customer.revoke(token)

    expect(shown.get_by_role("heading", level=2)).to_have_text("This link was withdrawn")
    shown.evaluate("hash => { location.hash = hash }", f"token={customer.token()['token']}&meter=tokens")
    assert total(shown) == written(sum(customer.tokens_by(DAY).values(), Decimal()))
    assert "token=" not in shown.url


def test_a_token_that_was_cut_off_says_so(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"][:-4])

    expect(shown.get_by_role("heading", level=2)).to_have_text("This link is not complete")


def test_a_period_without_usage_says_so(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=idle")

    expect(shown.locator(".mp-notice h2")).to_have_text("No usage in this period")
    assert total(shown) == "0"


def test_offline_keeps_what_was_shown_and_says_since_when(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&refresh=0.5")
    before = total(shown)

    shown.context.set_offline(True)
    expect(shown.get_by_role("alert")).to_contain_text("You are offline. What you see is from")
    assert total(shown) == before

    shown.context.set_offline(False)
    expect(shown.get_by_role("alert")).to_have_count(0)


def test_an_error_says_so_and_can_be_tried_again(page: Open, customer: Customer) -> None:
    opened = page()
    opened.route("**/tokens/query*", lambda route: route.fulfill(status=503, body="{}"))
    shown = show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0")

    expect(shown.get_by_role("alert")).to_contain_text("Usage is not available right now")
    opened.unroute_all(behavior="wait")
    shown.get_by_role("button", name="Try again").click()
    assert total(shown) == written(sum(customer.tokens_by(DAY).values(), Decimal()))


def test_while_nothing_answers_it_says_so_and_goes_on_by_itself(page: Open, customer: Customer) -> None:
    opened = page()
    opened.route("**/portal/meters", lambda route: route.fulfill(status=503, body="{}"))
    show(opened, customer, customer.token()["token"], "meter=tokens&refresh=0.5")

    expect(opened.get_by_role("button", name="Trying again")).to_be_visible()
    opened.unroute_all(behavior="wait")

    assert total(opened) == written(sum(customer.tokens_by(DAY).values(), Decimal()))
    expect(opened.get_by_role("button", name="Live")).to_be_visible()


def test_while_it_loads_it_says_so(page: Open, customer: Customer) -> None:
    opened = page()
    held: list[Route] = []
    opened.route("**/query*", lambda route: held.append(route))  # noqa: PLW0108
    show(opened, customer, customer.token()["token"])

    expect(opened.get_by_text("Loading usage")).to_be_attached()
    while held:
        held.pop().continue_()
    opened.unroute_all(behavior="wait")
    total(opened)
    expect(opened.get_by_text("Loading usage")).to_have_count(0)


def test_it_survives_a_restart_of_the_server(page: Open, tmp_path: Path) -> None:
    alone = Customer(tmp_path)
    alone.send((now(), {"tokens": "1.5", "model": "vision", "type": "input", "ms": 1}))
    shown = show(page(), alone, alone.token()["token"], "meter=tokens&refresh=0.5")
    assert total(shown) == "1.5"

    alone.server.kill()

    expect(shown.get_by_role("alert")).to_contain_text("Usage cannot be reached right now.")
    assert total(shown) == "1.5"
    time.sleep(0.1)
    alone.close()
