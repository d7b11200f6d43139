"""Fixtures of the browser tests: a server with a customer's events, a browser, and pages whose errors are recorded."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.harness.folder_services import FolderServices
from tests.harness.services import install_packages
from tests.portal.browser import PATIENCE_MS, SOURCES, VIEWPORTS, Complaints, chromium, needed
from tests.portal.customer import ZONE, Customer, a_month, now

Open = Callable[..., Page]
Serve = Callable[[AbstractContextManager[str]], str]
Run = Callable[..., list[Any]]


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    """Install the packages of the page's lock file, among them axe and the SDK."""
    install_packages(SOURCES)


_browsers: list[Browser] = []  # the browser and the customer of this worker, while it runs tests of this folder
_customers: list[Customer] = []
_services = FolderServices()


@pytest.fixture(scope="module")
def browser() -> Browser:
    """Return the browser that the tests of all modules share. Each page has a context of its own there."""
    if not _browsers:
        _browsers.append(_services.enter_context(chromium()))
        _services.callback(_browsers.clear)
    return _browsers[0]


@pytest.fixture(scope="module")
def customer(tmp_path_factory: pytest.TempPathFactory) -> Customer:
    """Return the customer that the tests of all modules share. A test that creates a meter there deletes it."""
    if not _customers:
        running = Customer(tmp_path_factory.mktemp("portal"))
        _services.callback(running.close)
        running.send(*a_month(now()))
        running.send(
            (now(), {"tokens": "555", "model": "vision", "type": "input", "ms": 1}), subject="another customer"
        )
        _customers.append(running)
        _services.callback(_customers.clear)
    return _customers[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End the shared browser and customer with the last test of this folder."""
    try:
        yield
    finally:
        _services.end_after(item, nextitem)


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(browser: Browser, complaints: Complaints) -> Iterator[Open]:
    """Yield a function that opens a page on a device, in a colour scheme. The browser is English and in Berlin."""
    contexts = []

    def open_(device: str = "desktop", scheme: str = "light", **options: object) -> Page:
        width, height = VIEWPORTS[device]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
            locale="en-US",
            timezone_id=ZONE,
            reduced_motion="reduce",
            **options,  # type: ignore[arg-type]
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        opened = context.new_page()
        complaints.listen(opened)
        return opened

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Yield a function that serves a site until the test ends and returns its URL."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture(scope="session")
def run(packages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:  # noqa: ARG001 - it needs them
    """Yield a function that calls functions of a module of the page under Node. Each call is (name, arguments…)."""
    needed("node")
    script = Path(__file__).with_name("modules.mjs")
    vite = SOURCES / "node_modules" / "vite" / "dist" / "node" / "index.js"
    command: list[str | Path] = ["node", script, vite, SOURCES / "src", tmp_path_factory.mktemp("modules")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as node:
        assert node.stdin and node.stdout
        questions, answers = node.stdin, node.stdout

        def call(module: str, *calls: tuple[object, ...]) -> list[Any]:
            questions.write(json.dumps({"module": module, "calls": calls}) + "\n")
            questions.flush()
            answer = json.loads(answers.readline())
            assert "error" not in answer, answer["error"]
            found: list[Any] = answer["returned"]
            return found

        yield call
        questions.close()
