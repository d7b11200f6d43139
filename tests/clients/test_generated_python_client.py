"""An unmodified client that openapi-python-client generates from the served document, against a running server."""

import compileall
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import API_KEY
from tests.harness.server import Server
from tests.harness.services import install_python_packages

HERE = Path(__file__).parent / "generated_python"


@pytest.fixture(scope="module")
def generator() -> dict[str, str]:
    """Return environment variables so that this Python finds the generator and the packages of its clients."""
    return {**os.environ, "PYTHONPATH": str(install_python_packages(HERE / "requirements.lock"))}


@pytest.fixture(scope="module")
def package(server: Server, generator: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the generated package."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_bytes(httpx.get(f"{server.url}/openapi.json").content)
    command = ["generate", "--path", "openapi.json", "--output-path", "meterport_client", "--meta", "none"]
    made = run(["-m", "openapi_python_client", *command], generator, folder)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "will not be generated" not in made.stdout, made.stdout
    assert "Unable to" not in made.stdout, made.stdout
    return folder


@pytest.fixture(scope="module")
def seen(server: Server, generator: dict[str, str], package: Path) -> dict[str, Any]:
    walk = run([str(HERE / "walk.py"), str(package), str(server.url), API_KEY], generator, package)
    assert walk.returncode == 0, walk.stderr
    result: dict[str, Any] = json.loads(walk.stdout)
    return result


def run(arguments: list[str], variables: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def test_the_generated_package_compiles_and_each_of_its_modules_imports(package: Path, seen: dict[str, Any]) -> None:
    """C5."""
    assert compileall.compile_dir(package / "meterport_client", quiet=1, force=True)
    assert seen["modules"] > 80


def test_events_sent_alone_and_together_are_usage(seen: dict[str, Any]) -> None:
    """C5."""
    assert (seen["created"], seen["ingested"]) == ("generated_py", [204, 204])
    begin = "2026-11-01T00:00:00+00:00"
    assert seen["grouped"] == [
        ["acme", {"model": "large"}, 1, begin],
        ["acme", {"model": "small"}, 2, begin],
        ["other", {"model": "small"}, 4, begin],
    ]


def test_filters_narrow_the_answer_or_are_refused(seen: dict[str, Any]) -> None:
    """C5: the generator does not know `deepObject`, and sends the keys of a filter unchanged."""
    assert [row[:3] for row in seen["filtered"]] == [["acme", {}, 2], ["other", {}, 4]]
    assert seen["bare_key"]["detail"] == 'parameter "model" is unknown, did you mean "filterGroupBy[model]"?'
    assert seen["posted"] == [[None, {}, 1, "2026-11-02T00:00:00+00:00"]]
    assert [row[:3] for row in seen["advanced"]] == [[None, {}, 1]]


def test_events_are_searched_and_listed(seen: dict[str, Any]) -> None:
    """C5."""
    assert seen["searched"] == ["b", "c"]
    assert seen["listed"] == [["a", 1], ["b", 2]]
    assert seen["debug_metrics"] is True


def test_a_token_opens_the_portal_until_it_is_invalidated(seen: dict[str, Any]) -> None:
    """C5."""
    assert [row[:3] for row in seen["portal"]] == [["acme", {"model": "large"}, 1], ["acme", {"model": "small"}, 2]]
    assert [row[:3] for row in seen["portal_posted"]] == [["acme", {}, 2]]
    assert seen["portal_meters"] == ["generated_py"]
    assert (seen["invalidated"], seen["revoked"]) == (204, [True])
    assert seen["refused"]["detail"] == "invalid token: revoked"


def test_an_error_is_a_problem_with_its_detail(seen: dict[str, Any]) -> None:
    """C5."""
    assert seen["missing"] == [404, "Problem", "not found error: meter not found: nothing_here"]
