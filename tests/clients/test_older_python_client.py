"""OpenMeter's Python client of 2024 (1.0.0b188, built on azure-core), unmodified, against a running server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import API_KEY
from tests.harness.server import Server
from tests.harness.services import install_python_packages

HERE = Path(__file__).parent / "older_python"


@pytest.fixture(scope="module")
def seen(server: Server) -> dict[str, Any]:
    variables = {**os.environ, "PYTHONPATH": str(install_python_packages(HERE / "requirements.lock"))}
    walk = subprocess.run(
        [sys.executable, str(HERE / "walk.py"), str(server.url), API_KEY],
        env=variables,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert walk.returncode == 0, walk.stderr
    result: dict[str, Any] = json.loads(walk.stdout)
    return result


def test_its_meters_and_events_are_usage(seen: dict[str, Any]) -> None:
    assert seen["created"] == "older_py"
    assert seen["usage"] == [["acme", {"model": "a"}, 3]]


def test_its_errors_say_what_is_wrong(seen: dict[str, Any]) -> None:
    """C8: azure-core shows the members `code` and `message` of an error, and nothing else."""
    assert seen["missing"].splitlines()[0] == "(not-found) not found error: meter not found: nothing_here"
    assert seen["refused"].splitlines()[0] == "(invalid-event) invalid event: id must not be empty"


def test_its_filter_by_errors_is_ignored_as_openmeter_does(seen: dict[str, Any]) -> None:
    """C10: `hasError` is retired. An event that did not count says so itself."""
    assert seen["listed"] == [["bad", 'invalid event: missing value property: "$.tokens"'], ["good", ""]]
    assert seen["with_error"] == ["bad", "good"]
