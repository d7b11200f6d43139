"""<meterport-usage> that cannot show usage tells the customer and the site why, and goes on when it can."""

from datetime import timedelta
from pathlib import Path

from playwright.sync_api import expect

from tests.portal.conftest import Open, Serve
from tests.portal.customer import Customer, now
from tests.portal.element import all_tokens, shop, total


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


def test_where_the_views_fail_a_notice_stands(page: Open, customer: Customer, serve: Serve) -> None:
    broken = "Intl.NumberFormat = function () { throw new Error('broken') }"
    url = serve(shop(customer, f'token="{customer.token()["token"]}"', broken))
    opened = page()

    opened.goto(url)

    expect(opened.get_by_text("Usage cannot be shown")).to_be_visible()


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
