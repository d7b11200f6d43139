"""Tokens that expire while <meterport-usage> is open: choices stay, no other customer's data, no request loop."""

from datetime import timedelta

from playwright.sync_api import Page, Route, expect

from tests.portal.browser import choose
from tests.portal.conftest import Open, Serve
from tests.portal.customer import Customer, now
from tests.portal.element import all_tokens, shop, total

EXPIRED = '{"type":"about:blank","status":401,"title":"Unauthorized","detail":"invalid token: expired"}'


def give(page: Page, token: str) -> None:
    page.evaluate("token => { document.querySelector('meterport-usage').token = token }", token)


def expire(route: Route) -> None:
    headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "application/problem+json"}
    route.fulfill(status=401, body=EXPIRED, headers=headers)


def test_another_token_keeps_what_was_chosen_and_the_focus(page: Open, customer: Customer, serve: Serve) -> None:
    opened = page()
    opened.goto(serve(shop(customer, f'token="{customer.token()["token"]}" meter="tokens"')))
    total(opened)
    opened.get_by_label("Only model").fill("vision")
    opened.keyboard.press("Enter")
    choose(opened.get_by_role("radio", name="Last 7 days"))
    opened.get_by_role("radio", name="Last 7 days").focus()
    chosen = total(opened)
    assert chosen != all_tokens(customer)

    with opened.expect_response("**/portal/meters"):
        give(opened, customer.token()["token"])

    assert total(opened) == chosen
    expect(opened.get_by_role("radio", name="Last 7 days")).to_be_focused()
    expect(opened.get_by_label("Only model")).to_have_value("vision")


def test_another_customers_token_shows_nothing_of_the_one_before(page: Open, customer: Customer, serve: Serve) -> None:
    opened = page()
    opened.goto(serve(shop(customer, f'token="{customer.token()["token"]}" meter="tokens" refresh="0"')))
    before = total(opened)
    held: list[Route] = []
    opened.route("**/query*", lambda route: held.append(route))  # noqa: PLW0108

    with opened.expect_request("**/query*"):
        give(opened, customer.token(subject="another customer")["token"])

    opened.wait_for_timeout(200)
    assert before not in opened.locator(".mp").inner_text()
    while held:
        held.pop().continue_()
    opened.unroute_all(behavior="wait")
    expect(opened.locator(".mp-total strong")).to_have_text("555")


def test_before_its_token_comes_it_loads(page: Open, customer: Customer, serve: Serve) -> None:
    opened = page()
    opened.goto(serve(shop(customer, 'meter="tokens"')))

    expect(opened.get_by_text("Loading")).to_be_attached()
    expect(opened.get_by_text("No usage link")).to_have_count(0)
    give(opened, customer.token()["token"])
    assert total(opened) == all_tokens(customer)


def test_an_expired_token_nobody_renews_ends_the_session(page: Open, customer: Customer, serve: Serve) -> None:
    opened = page()
    opened.goto(serve(shop(customer, f'token="{customer.token()["token"]}" meter="tokens" refresh="0.5"')))
    shown = total(opened)

    opened.route("**/api/v1/portal/**", expire)

    expect(opened.locator("[aria-busy=true] .mp-total strong")).to_have_text(shown)  # while another token may arrive
    expect(opened.get_by_text("The session for usage has ended")).to_be_visible(timeout=15_000)
    assert opened.locator(".mp-total").count() == 0
    assert opened.get_by_text("link").count() == 0


def test_refused_tokens_are_renewed_with_growing_pauses(page: Open, customer: Customer, serve: Serve) -> None:
    """As in the recipe of the documents: the site gives another token at once whenever one is requested."""
    stale = customer.token(expiresAt=(now() + timedelta(seconds=2)).isoformat())["token"]
    script = f"""
      const usage = document.querySelector('meterport-usage')
      let asked = 0
      const renew = () => {{
        document.title = `${{++asked}} asked`
        usage.token = '{stale}' + ' '.repeat(asked)
      }}
      usage.addEventListener('meterport-expired', renew)
      setTimeout(renew, 2500)"""
    opened = page()
    opened.goto(serve(shop(customer, "", script)))

    opened.wait_for_timeout(2500 + 4000)

    assert opened.title() in {"3 asked", "4 asked"}
    give(opened, customer.token()["token"])
    total(opened)


def test_an_expired_token_is_told_once(page: Open, customer: Customer, serve: Serve) -> None:
    """It does not matter how many queries fail because of it."""
    script = """
      window.told = 0
      document.addEventListener('meterport-expired', () => { told += 1 })"""
    opened = page()
    opened.goto(serve(shop(customer, f'token="{customer.token()["token"]}" refresh="0.5"', script)))
    total(opened)
    opened.wait_for_selector(".mp-course")

    opened.route("**/api/v1/portal/**", expire)

    opened.wait_for_timeout(5000)
    assert opened.evaluate("told") == 1
