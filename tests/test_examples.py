"""The example that sends events to a running Meterport, without a server or with wrong arguments (case D10)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.ports import free_ports

SAMPLE = Path(__file__).parents[1] / "examples" / "sample_usage.py"


def run(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "METERPORT_URL": url}
    return subprocess.run(
        [sys.executable, str(SAMPLE), *arguments], env=environment, check=False, capture_output=True, text=True
    )


def test_the_sample_without_a_server_names_the_url_in_one_line() -> None:
    """D10: before, it ended with a traceback."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"

    ended = run(url=url)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"cannot send to {url}: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1", "http://127.0.0.1:many"])
def test_the_sample_with_a_url_that_is_none_names_it_in_one_line(url: str) -> None:
    """D10: before, it ended with a traceback, too."""
    ended = run(url=url)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"cannot send to {url}: ")
    assert ended.stderr.count("\n") == 1


def test_the_sample_says_what_it_takes() -> None:
    """D10: before, `--help` was ignored, and the events were sent."""
    ended = run("--help", url="http://127.0.0.1:1")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "METERPORT_URL" in ended.stdout
    assert "METERPORT_API_KEY" in ended.stdout


def test_the_sample_refuses_an_argument() -> None:
    """D10."""
    ended = run("--subject=acme", url="http://127.0.0.1:1")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "unrecognized arguments: --subject=acme" in ended.stderr
