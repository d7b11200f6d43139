"""DNS rebinding in a real browser: a page whose name points to this machine gets nothing from a server without a key.

Case S4. In this browser evil.example is 127.0.0.1, as the attacker's name server says. For the browser the page and the
server have the same origin, so it asks the server for no permission.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.harness.server import Server
from tests.portal.browser import PATIENCE_MS, chromium, site

EVIL = "evil.example"
READ = """async ([url, method, body]) => {
  const headers = body ? {'Content-Type': 'application/json'} : {}
  try {
    const answer = await fetch(url, {method, body, headers})
    return [answer.status, await answer.text()]
  } catch (error) { return [0, String(error)] }
}"""
BODY = '{"subject":"acme"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("keyless"))
    running.start()
    meter = {"slug": "secret_meter", "eventType": "t", "aggregation": "COUNT"}
    assert httpx.post(f"{running.url}/api/v1/meters", json=meter, timeout=60).status_code == 201
    yield running
    assert running.terminate() == 0, running.tail()


@pytest.fixture(scope="module")
def rebound() -> Iterator[Browser]:
    """A browser for which evil.example is this machine."""
    with chromium(switches=[f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"]) as browser:
        yield browser


def fetched(browser: Browser, page_url: str, url: str, method: str = "GET", body: str | None = None) -> list[Any]:
    """Return the status and body that a page gets, or status 0 if the browser hides the answer from it."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(page_url)
    found: list[Any] = page.evaluate(READ, [url, method, body])
    page.close()
    return found


def tokens(server: Server) -> object:
    """Return the tokens of the server, which the other tests share."""
    return httpx.get(f"{server.url}/api/v1/portal/tokens", timeout=60).json()


def test_a_page_of_a_name_that_was_bound_to_this_machine_gets_nothing(rebound: Browser, server: Server) -> None:
    port = httpx.URL(str(server.url)).port
    evil = f"http://{EVIL}:{port}"
    before = tokens(server)

    read = fetched(rebound, f"{evil}/livez", f"{evil}/api/v1/meters")
    made = fetched(rebound, f"{evil}/livez", f"{evil}/api/v1/portal/tokens", "POST", BODY)
    across = fetched(rebound, f"{evil}/livez", f"{server.url}/api/v1/meters")

    assert (read[0], made[0]) == (403, 403)
    assert "METERPORT_API_KEY" in read[1]
    assert "secret_meter" not in read[1] + across[1]
    assert "om_portal_" not in made[1]
    assert across[0] == 0
    assert tokens(server) == before


def test_a_page_of_this_machine_and_a_page_with_a_token_go_on_working(rebound: Browser, server: Server) -> None:
    """The page of a developer, and the page of a customer: a token opens its routes from any origin."""
    token = httpx.post(f"{server.url}/api/v1/portal/tokens", json={"subject": "acme"}, timeout=60).json()["token"]
    port = httpx.URL(str(server.url)).port
    ask = f"""async () => {{
      const answer = await fetch('{server.url}/api/v1/portal/meters', {{headers: {{Authorization: 'Bearer {token}'}}}})
      return [answer.status, await answer.text()]
    }}"""

    own = fetched(rebound, f"http://localhost:{port}/livez", f"http://localhost:{port}/api/v1/meters")
    with site(lambda _: "<p>a customer's site</p>") as url:
        page = rebound.new_page()
        page.goto(url.replace("127.0.0.1", EVIL))
        status, text = page.evaluate(ask)
        page.close()

    assert own[0] == 200
    assert "secret_meter" in own[1]
    assert status == 200
    assert "secret_meter" in text


def test_the_customers_page_opens_on_a_server_without_a_key(rebound: Browser, server: Server) -> None:
    token = httpx.post(f"{server.url}/api/v1/portal/tokens", json={"subject": "acme"}, timeout=60).json()["token"]
    page = rebound.new_page()
    page.set_default_timeout(PATIENCE_MS)

    page.goto(f"{server.url}/portal#token={token}")

    page.get_by_text("secret_meter").first.wait_for()
    page.close()
