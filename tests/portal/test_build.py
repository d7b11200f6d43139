"""The served files equal a build of the sources: a page that was changed without `make portal` fails here and in CI."""

import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.portal.browser import ROOT, SOURCES, site
from tests.portal.conftest import Open
from tests.portal.customer import Customer, written


@pytest.fixture(scope="module")
def fresh_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build everything in a separate folder."""
    out = tmp_path_factory.mktemp("fresh")
    subprocess.run(["node", "build.mjs", out], cwd=SOURCES, check=True, capture_output=True, timeout=120)
    return out


def test_what_is_committed_is_what_the_sources_build(fresh_build: Path) -> None:
    committed, fresh = _files(SOURCES / "built"), _files(fresh_build / "built")
    assert sorted(committed) == sorted(fresh), "run `make portal` and commit api/portal_page/built"
    assert [name for name in fresh if committed[name] != fresh[name]] == [], "run `make portal` and commit the result"


def test_the_page_asks_for_the_files_that_are_there() -> None:
    files = _files(SOURCES / "built")
    page = files["index.html"].decode()

    assert {f"portal/{name}" in page for name in files if name.startswith("page-")} == {True}
    assert "<style" not in page
    assert " style=" not in page
    assert "http" not in page


def test_the_react_package_says_that_it_runs_in_the_browser(fresh_build: Path) -> None:
    """Frameworks that render on a server read this in its first line."""
    assert (fresh_build / "dist" / "index.js").read_text(encoding="utf-8").startswith(("'use client'", '"use client"'))


CONSUMER = """import { OpenMeterProvider, PortalClient, UsagePortal, useOpenMeter } from '@meterport/portal'
import '@meterport/portal/style.css'
import { createRoot } from 'react-dom/client'

const given = new URLSearchParams(location.search)
const client = new PortalClient({ baseUrl: given.get('url') ?? '', portalToken: given.get('token') ?? '' })
const Known = () => <p id="known">{String(useOpenMeter() === client)}</p>
const root = document.body.appendChild(document.createElement('main'))
createRoot(root).render(
  <OpenMeterProvider value={client}>
    <Known />
    <UsagePortal meters={['tokens']} units={{ tokens: 'tokens' }} parts={['total', 'chart']} locale="en-US" />
  </OpenMeterProvider>,
)
"""


def test_the_react_package_serves_an_application_of_its_own(
    fresh_build: Path, page: Open, customer: Customer, tmp_path: Path
) -> None:
    """Its types pass strict TypeScript, and its files build a page that shows usage."""
    modules = tmp_path / "node_modules"
    (modules / "@meterport").mkdir(parents=True)
    for entry in (SOURCES / "node_modules").iterdir():
        (modules / entry.name).symlink_to(entry)
    shutil.copytree(fresh_build, modules / "@meterport" / "portal")
    shutil.copy(SOURCES / "package.json", modules / "@meterport" / "portal")
    (tmp_path / "main.tsx").write_text(CONSUMER)
    (tmp_path / "index.html").write_text('<title>-</title><script type="module" src="/main.tsx"></script>')
    options = "--noEmit --strict --jsx react-jsx --module esnext --moduleResolution bundler --target es2023"

    tsc = [
        "node",
        "node_modules/typescript/bin/tsc",
        *options.split(),
        "--skipLibCheck",
        "--noUncheckedSideEffectImports",
        "false",
    ]
    checked = subprocess.run([*tsc, "main.tsx"], cwd=tmp_path, capture_output=True, check=False, text=True, timeout=120)
    assert checked.stdout == ""
    subprocess.run(
        ["node", "node_modules/vite/bin/vite.js", "build"], cwd=tmp_path, check=True, capture_output=True, timeout=120
    )

    def pages(path: str) -> str | None:
        file = tmp_path / "dist" / (path.partition("?")[0].lstrip("/") or "index.html")
        return file.read_text(encoding="utf-8") if file.is_file() else None

    with site(pages) as url:
        opened = page()
        opened.goto(f"{url}/?url={customer.url}&token={customer.token()['token']}")
        total = written(sum(customer.tokens_by("%Y").values(), Decimal()))
        expect(opened.locator(".mp-total strong")).to_have_text(f"{total} tokens")
        expect(opened.locator("#known")).to_have_text("true")


def test_lock_files_hold_no_addresses() -> None:
    locks = [path for path in ROOT.glob("**/package-lock.json") if "node_modules" not in path.parts]

    assert locks
    for lock in locks:
        packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
        assert [name for name, package in packages.items() if str(package.get("resolved", "")).startswith("http")] == []
        assert [
            name
            for name, package in packages.items()
            if name.startswith("node_modules/") and not package.get("link") and "integrity" not in package
        ] == [], lock


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
