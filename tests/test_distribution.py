"""The wheel that `make dist` builds works when it is installed alone: no file is taken from the repository."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import engine
from tests.harness.preloaded import ROOT
from tests.harness.server import Server


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory into which the wheel is installed, without its dependencies: those of this environment are used."""
    directory = tmp_path_factory.mktemp("wheel")
    built, site = directory / "dist", directory / "site"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(built)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = built.glob("*.whl")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, capture_output=True)
    yield site


def run(site: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=site, env=environment, check=True, capture_output=True, text=True).stdout


def test_each_package_comes_from_the_wheel(installed: Path) -> None:
    packages = "engine, ingest, api, meterport, sql"
    printed = run(installed, sys.executable, "-c", f"import {packages}\nfor each in ({packages}): print(each.__file__)")

    assert [Path(line).parent.parent for line in printed.split()] == [installed] * 5
    assert not (installed / "tests").exists()
    assert not (installed / "api" / "portal_page" / "src").exists()


def test_the_command_tells_the_version_of_the_wheel(installed: Path) -> None:
    printed = run(installed, sys.executable, str(installed / "bin" / "meterport"), "--version")

    assert printed.split() == ["meterport", engine.__version__]
    assert [path.name for path in installed.glob("meterport-*.dist-info")] == [
        f"meterport-{engine.__version__}.dist-info"
    ]


def test_it_serves_counts_and_shows_the_page(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(installed / "bin" / "meterport"), "serve"]
    with Server(tmp_path, command, {"PYTHONPATH": str(installed)}) as server:
        server.start()
        assert server.url is not None
        meter = {"slug": "calls", "eventType": "call", "aggregation": "COUNT"}
        event = {"specversion": "1.0", "id": "1", "source": "s", "type": "call", "subject": "acme"}
        with httpx.Client(base_url=server.url, timeout=60) as client:
            assert client.post("/api/v1/meters", json=meter).status_code == 201
            sent = client.post("/api/v1/events", json=event, headers={"Content-Type": "application/cloudevents+json"})
            assert sent.status_code == 204
            while client.get("/api/v1/meters/calls/query").json()["data"] == []:
                assert server.running, server.tail()
            page = client.get("/portal")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert server.terminate() == 0
