"""Types that openapi-typescript generates from the served document, used with openapi-fetch against a running server.

Without Node these tests are skipped, except in CI, which must have it.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import API_KEY
from tests.harness.server import Server
from tests.harness.services import install_packages

HERE = Path(__file__).parent / "javascript"


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the application and its types, which are not compiled yet."""
    install_packages(HERE)
    made = tmp_path_factory.mktemp("generated")
    (made / "node_modules").symlink_to(HERE / "node_modules")
    for name in ("generated.ts", "package.json", "tsconfig.json"):
        shutil.copy(HERE / name, made)
    (made / "openapi.json").write_bytes(httpx.get(f"{server.url}/openapi.json").content)
    run(made, "node_modules/.bin/openapi-typescript", "openapi.json", "--output", "schema.d.ts")
    return made


@pytest.fixture(scope="module")
def seen(server: Server, folder: Path) -> dict[str, Any]:
    run(folder, "node_modules/.bin/tsc", "--project", "tsconfig.json")
    result: dict[str, Any] = json.loads(run(folder, "node", "generated.js", str(server.url), API_KEY))
    return result


def run(folder: Path, *command: str) -> str:
    ended = subprocess.run(command, cwd=folder, capture_output=True, check=False, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_no_member_of_any_object_is_lost_on_the_way_to_types(folder: Path) -> None:
    """C6: if the document leaves the members of an object open, its type must allow any members, not none."""
    types = (folder / "schema.d.ts").read_text()

    assert [line for line in types.splitlines() if "Record<string, never>" in line and "export type" not in line] == []


def test_typed_events_with_data_and_extensions_are_usage(seen: dict[str, Any]) -> None:
    """C6."""
    assert seen["created"] == ["generated_ts", "billing"]
    assert seen["ingested"] == [204, 204]
    assert seen["grouped"] == [["acme", "large", 1], ["acme", "small", 2], ["other", "small", 4]]


def test_typed_filters_narrow_the_answer(seen: dict[str, Any]) -> None:
    """C6."""
    assert seen["filtered"] == [["acme", None, 2], ["other", None, 4]]
    assert seen["advanced"] == [[None, None, 1]]
    assert seen["posted"] == [[None, None, 1]]
    assert seen["searched"] == [["b", 2, "00-ab"], ["c", 4, "00-ab"]]


def test_typed_subjects_tokens_and_errors_answer(seen: dict[str, Any]) -> None:
    """C6."""
    assert seen["subject"] == [{"seats": 3}]
    assert seen["portal"] == [["acme", "large", 1], ["acme", "small", 2]]
    assert (seen["revoked"], seen["refused"]) == ([True], "invalid token: revoked")
    assert seen["missing"] == [404, "not-found", "not found error: meter not found: nothing_here"]
