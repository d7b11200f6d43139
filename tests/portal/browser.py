"""The system's Chromium, headless, and the pages that tests open in it.

Owns: finding the browser (without one the test is skipped, except in CI, which must have one), the axe audit, and a
server of static files on a separate origin, like the site of a customer.
"""

import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright

from tests.harness.services import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "api" / "portal_page"
KINDS = {"js": "text/javascript", "mjs": "text/javascript", "css": "text/css"}
# Debian's chromium-headless-shell is the same engine without a window: a page takes a third of the processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHORT_LIVED = ["--js-flags=--no-opt"]  # a page of a test ends before its scripts have become faster by optimisation
PATIENCE_MS = 30_000  # how long an expected element may take to appear: many tests share two cores
VIEWPORTS = {"desktop": (1280, 900), "phone": (390, 844)}


def needed(*tools: str) -> None:
    """Skip the test with a reason (in CI: fail it) if none of the tools is installed."""
    if not any(shutil.which(tool) for tool in tools):
        skip_or_fail(f"no {tools[0]} on this machine")


@contextmanager
def chromium(variables: Mapping[str, str] | None = None, switches: Sequence[str] = ()) -> Iterator[Browser]:
    """Run the system's Chromium until the context ends, with further environment variables."""
    needed(*NAMES)
    expect.set_options(timeout=PATIENCE_MS)
    executable = next(path for name in NAMES if (path := shutil.which(name)))
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with _driver() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=[*as_root, *SHORT_LIVED, *switches],
            env={**os.environ, **(variables or {})},
        )
        yield browser
        browser.close()


_drivers: list[Playwright] = []  # the one that runs, if any: a process can have only one


@contextmanager
def _driver() -> Iterator[Playwright]:
    """Yield the driver that runs already, or run one until the context ends."""
    if _drivers:
        yield _drivers[0]
        return
    with sync_playwright() as driver:
        _drivers.append(driver)
        try:
            yield driver
        finally:
            _drivers.clear()


class Complaints(list[str]):
    """The errors that the pages of a test wrote to the console or threw."""

    def listen(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("console", lambda message: self.append(message.text) if message.type == "error" else None)


def choose(box: Locator, checked: bool = True) -> None:
    """Click a radio button or a checkbox, and wait until it is checked or not.

    Playwright's own `check` looks once, at once. On a busy machine the page may then not have drawn its answer.
    """
    box.click()
    expect(box).to_be_checked(checked=checked)


def audit(page: Page) -> list[str]:
    """Return the findings of axe that are serious or critical, each with its id and the elements."""
    axe = SOURCES / "node_modules" / "axe-core" / "axe.min.js"
    page.evaluate(axe.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {[node['target'] for node in violation['nodes']]}"
        for violation in found["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]


@contextmanager
def site(pages: Callable[[str], str | None], headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve pages (`pages` maps a path to HTML) on a separate origin. Yield its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages(self.path)
            self.send_response(404 if body is None else 200)
            kind = KINDS.get(self.path.rpartition(".")[2], "text/html")
            for name, value in {"Content-Type": f"{kind}; charset=utf-8", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
