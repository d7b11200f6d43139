"""OpenMeter's published JavaScript SDK, unmodified, from npm, against a running server.

Without Node these tests are skipped, except in CI, which must have it.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import API_KEY
from tests.harness.server import Server
from tests.harness.services import install_packages

HERE = Path(__file__).parent / "javascript"


@pytest.fixture(scope="module")
def seen(server: Server) -> dict[str, Any]:
    install_packages(HERE)
    walk = subprocess.run(
        ["node", "portal.mjs", str(server.url), API_KEY],
        cwd=HERE,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert walk.returncode == 0, walk.stderr
    result: dict[str, Any] = json.loads(walk.stdout)
    return result


def test_usage_comes_out_through_a_portal_token(seen: dict[str, Any]) -> None:
    assert seen["created"] == "sdk_tokens"
    assert seen["prefix"] == "om_portal_"
    assert seen["rows"] == [
        ["customer-1", "gpt-4", 15.5, "2026-11-02T00:00:00.000Z"],
        ["customer-1", "small", 1, "2026-11-02T00:00:00.000Z"],
    ]


def test_filters_and_the_management_query_answer(seen: dict[str, Any]) -> None:
    assert seen["filtered"] == [1]
    assert seen["managed"] == [16.5]


def test_tokens_are_listed_and_errors_are_typed_and_carry_our_detail(seen: dict[str, Any]) -> None:
    assert seen["listed"] is True
    assert seen["forbidden"][:2] == [True, 401]
    assert seen["forbidden"][2].endswith("[401]: meter slug not allowed")
    assert seen["revoked"][2].endswith("[401]: invalid token: revoked")


def test_advanced_filters_and_pages_of_events_answer(seen: dict[str, Any]) -> None:
    """Contract 2.3, 3.2."""
    assert seen["advanced"] == [1]
    assert seen["pages"] == [["c", "b"], ["a"]]


def test_a_page_of_another_origin_reads_usage_and_our_words_for_errors(seen: dict[str, Any]) -> None:
    """D.23: HTTPError has the detail and code of the problem. Pages cannot use the management API."""
    assert seen["foreign"] == [16.5]
    told = {name: seen[name][2].rpartition("]: ")[2] for name in ("misspelt", "zone", "closed")}
    assert told["misspelt"].startswith('parameter "windowSize" in query has an error: value is not one of')
    assert told["zone"] == "validation error: invalid time zone: unknown time zone Mars/Olympus"
    assert told["closed"] == "meter slug not allowed"
    assert seen["backend"][2] == "Failed to fetch: preflight"


def test_the_backends_errors_carry_our_words_too(seen: dict[str, Any]) -> None:
    """Contract 0."""
    assert seen["missing"][1:] == [404, seen["missing"][2]]
    assert seen["missing"][2].endswith("[404]: not found error: meter not found: nothing_here")
    assert seen["taken"][2].endswith("[409]: conflict error: meter with the same slug already exists")
    assert {"invalid-request", "unauthorized", "not-found", "conflict"} <= set(seen["codes"])
