"""What is served is what the sources build: a page changed without `make portal` fails here, and in CI."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.portal.browser import ROOT, SOURCES, needed


@pytest.fixture(scope="module")
def packages() -> None:
    """Install exactly what the lock file names, unless that is there."""
    needed("npm")
    held, wanted = SOURCES / "node_modules" / ".package-lock.json", SOURCES / "package-lock.json"
    if not held.exists() or held.stat().st_mtime < wanted.stat().st_mtime or os.environ.get("CI"):
        subprocess.run(["npm", "ci", "--silent"], cwd=SOURCES, check=True, capture_output=True, timeout=280)


@pytest.mark.usefixtures("packages")
def test_what_is_committed_is_what_the_sources_build(tmp_path: Path) -> None:
    subprocess.run(
        ["node", "build.mjs", str(tmp_path / "built")], cwd=SOURCES, check=True, capture_output=True, timeout=120
    )

    committed, fresh = _files(SOURCES / "built"), _files(tmp_path / "built")
    assert sorted(committed) == sorted(fresh), "run `make portal` and commit api/portal_page/built"
    assert [name for name in fresh if committed[name] != fresh[name]] == [], "run `make portal` and commit the result"


def test_the_page_asks_for_the_files_that_are_there() -> None:
    files = _files(SOURCES / "built")
    page = files["index.html"].decode()

    assert {f"portal/{name}" in page for name in files if name.startswith("page-")} == {True}
    assert "<style" not in page
    assert " style=" not in page
    assert "http" not in page


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
