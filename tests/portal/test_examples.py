"""The examples, started as their READMEs say, against a running server, and viewed in a browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.harness.ports import free_ports
from tests.harness.services import file_lock, install_packages
from tests.portal.browser import ROOT, audit
from tests.portal.conftest import Open
from tests.portal.customer import KEY, Customer, now, written

EXAMPLES = ROOT / "examples"
SDK = ROOT / "tests" / "clients" / "javascript"  # its packages include the SDK
START_SECONDS = 120
Start = Callable[..., str]


@contextmanager
def started(folder: Path, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run an example on a free port until the context ends. Yield its URL as soon as it answers."""
    [port] = free_ports(1)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment, "PORT": str(port)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code < 500
    except httpx.TransportError:
        return False


@pytest.fixture
def start(customer: Customer, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts an example against the customer's server, with the packages of its lock file."""
    environment = {"METERPORT_URL": customer.url, "METERPORT_API_KEY": KEY, "NEXT_TELEMETRY_DISABLED": "1"}
    with ExitStack() as stack:

        def run(name: str, *command: str) -> str:
            folder = EXAMPLES / name
            if command[0] == "npm":
                install_packages(folder)
            # The development server of Next.js refuses to run twice in a folder.
            stack.enter_context(file_lock(f"example-{name}"))
            return stack.enter_context(started(folder, command, environment, tmp_path / f"{name}.log"))

        yield run


def rows(page: Page) -> list[list[str]]:
    page.wait_for_selector("tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in page.locator("tbody tr").all()]


def rounded(value: Decimal) -> str:
    """Write a number with three places, as a frontend that reads doubles does."""
    return f"{float(value):,.3f}".rstrip("0").rstrip(".")


def test_react_shows_a_month_of_days_and_a_new_day_as_it_comes(page: Open, customer: Customer, start: Start) -> None:
    opened = page()
    opened.set_default_timeout(60_000)

    refused_it_waits_until_usage_is_shown(opened, start("react-portal", "npm", "run", "dev"))

    sums = _by_utc_day(customer)
    assert rows(opened) == [[day, rounded(value)] for day, value in sums.items()]
    expect(opened.locator("svg rect")).to_have_count(len(sums))
    assert audit(opened) == []
    customer.send((now(), {"tokens": "1000", "model": "vision", "type": "input", "ms": 1}))
    last = list(_by_utc_day(customer).values())[-1]
    expect(opened.locator("tbody tr").last.locator("td")).to_have_text(rounded(last), timeout=20_000)


@pytest.mark.only_long  # Next.js alone has 350 MB of packages, and its page is like that of React
def test_nextjs_shows_usage_by_model_with_a_token_made_on_the_server(
    page: Open, customer: Customer, start: Start
) -> None:
    url = start("nextjs-portal", "npm", "run", "dev")
    opened = page()
    opened.set_default_timeout(60_000)

    # `next dev` allows requests for its scripts from this host.
    refused_it_waits_until_usage_is_shown(opened, url.replace("127.0.0.1", "localhost"))

    models: dict[str, Decimal] = {}
    for (_, model), value in customer.tokens_by("%Y", "model").items():
        models[model] = models.get(model, Decimal()) + value
    assert rows(opened) == [[model, rounded(value)] for model, value in sorted(models.items())]
    assert KEY not in opened.content()
    assert audit(opened) == []


CREATE = "import('./token.mjs').then((token) => token.createToken()).then((made) => console.log(JSON.stringify(made)))"


def test_nextjs_creates_a_token_of_its_customer_for_one_meter(customer: Customer, tmp_path: Path) -> None:
    """The half of the example that runs on the server, under Node alone."""
    install_packages(SDK)
    (tmp_path / "node_modules").symlink_to(SDK / "node_modules")
    shutil.copy(EXAMPLES / "nextjs-portal" / "app" / "token.js", tmp_path / "token.mjs")
    environment = {**os.environ, "METERPORT_URL": customer.url, "METERPORT_API_KEY": KEY}
    command = ["node", "-e", CREATE]

    made = json.loads(subprocess.check_output(command, cwd=tmp_path, env=environment, text=True, timeout=60))

    assert made["baseUrl"] == customer.url
    queries = {slug: f"{customer.url}/api/v1/portal/meters/{slug}/query" for slug in ("tokens", "calls")}
    headers = {"Authorization": f"Bearer {made['token']}"}
    answers = {slug: httpx.get(url, headers=headers, timeout=60) for slug, url in queries.items()}
    total = sum(customer.tokens_by("").values(), Decimal())
    assert Decimal(str(answers["tokens"].json(parse_float=Decimal)["data"][0]["value"])) == total
    assert answers["calls"].status_code == 401


REFUSED = '{"type":"about:blank","title":"Unauthorized","status":401,"detail":"meter slug not allowed"}'


def refused_it_waits_until_usage_is_shown(opened: Page, url: str) -> None:
    """Check what an example does after a refusal that is not about an expired token.

    It asks for no other token, and the next successful query shows usage.
    """
    headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "application/problem+json"}
    opened.route("**/tokens/query*", lambda route: route.fulfill(status=401, body=REFUSED, headers=headers))
    posts: list[str] = []
    opened.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    opened.goto(url)
    expect(opened.get_by_role("alert").filter(has_text="meter slug not allowed")).to_be_visible(timeout=60_000)
    before = len(posts)

    opened.wait_for_timeout(3000)

    assert len(posts) == before <= 2  # only the first token, requested twice in strict mode
    opened.unroute_all(behavior="wait")
    expect(opened.locator("tbody tr").first).to_be_visible(timeout=20_000)
    expect(opened.get_by_text("meter slug not allowed")).to_have_count(0)


def test_python_shows_the_element_under_its_policy(page: Open, customer: Customer, start: Start) -> None:
    url = start("python-backend", sys.executable, "app.py")
    opened = page()

    opened.goto(url)

    total = written(sum(customer.tokens_by("%Y").values(), Decimal()))
    expect(opened.locator(".mp-total strong")).to_have_text(f"{total} tokens")
    assert KEY not in opened.content()
    assert opened.locator("meterport-usage").get_attribute("token") is None
    assert "native code" in opened.evaluate("String(window.open)")
    assert audit(opened) == []


def test_the_sample_is_a_month_of_one_customer_and_twice_the_same(tmp_path: Path) -> None:
    fresh = Customer(tmp_path)
    environment = {**os.environ, "METERPORT_URL": fresh.url, "METERPORT_API_KEY": KEY}
    sample = [sys.executable, str(EXAMPLES / "sample_usage.py")]

    said = [
        subprocess.run(sample, env=environment, check=True, capture_output=True, text=True).stdout for _ in range(2)
    ]

    counts = [int(re.findall(r"\d+", text)[0]) for text in said]
    assert 30 * 24 <= counts[0] <= counts[1] <= 31 * 24
    assert _stored(fresh, counts[1]) == counts[1]
    fresh.close()


def _stored(customer: Customer, wanted: int) -> int:
    headers = {"Authorization": f"Bearer {KEY}"}
    for _ in range(100):
        answer = httpx.get(f"{customer.url}/api/v1/meters/calls/query?subject=acme", headers=headers).json()["data"]
        if answer and answer[0]["value"] >= wanted:
            break
        time.sleep(0.05)
    return int(answer[0]["value"])


def _by_utc_day(customer: Customer) -> dict[str, Decimal]:
    """Return the days with usage among the last 30 UTC days, in order, as English writes them."""
    sums: dict[datetime, Decimal] = {}
    for at, data in customer.events:
        day = at.replace(hour=0, minute=0, second=0)
        sums[day] = sums.get(day, Decimal()) + Decimal(data["tokens"])
    return {f"{day:%b %-d, %Y}": sums[day] for day in sorted(sums) if day > now() - timedelta(days=30)}
