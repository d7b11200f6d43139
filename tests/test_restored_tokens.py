"""After a restore, tokens that were issued after the backup still work, and can be revoked (case S3)."""

import shutil
from pathlib import Path

import httpx

from tests.harness.server import Server


def invalidate(server: Server, body: dict[str, str]) -> int:
    return httpx.post(f"{server.url}/api/v1/portal/tokens/invalidate", json=body, timeout=60).status_code


def opened(server: Server, tokens: list[str]) -> list[int]:
    """Return the status that a portal route answers to each token."""
    url = f"{server.url}/api/v1/portal/meters"
    return [httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60).status_code for token in tokens]


def test_tokens_of_after_the_copy_that_was_restored_are_taken_back(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.start()
        assert server.terminate() == 0
        shutil.copytree(tmp_path / "data", tmp_path / "copy", symlinks=True)
        server.start()
        made = [
            httpx.post(f"{server.url}/api/v1/portal/tokens", json={"subject": subject}, timeout=60).json()
            for subject in ("by id", "by subject", "by its time", "later")
        ]
        tokens = [token["token"] for token in made]
        assert server.terminate() == 0
        shutil.rmtree(tmp_path / "data")
        shutil.move(tmp_path / "copy", tmp_path / "data")
        server.start()

        assert httpx.get(f"{server.url}/api/v1/portal/tokens", timeout=60).json() == []
        assert opened(server, tokens) == [200, 200, 200, 200]
        assert invalidate(server, {"id": made[0]["id"]}) == 204
        assert invalidate(server, {"subject": "by subject"}) == 204
        assert opened(server, tokens) == [401, 401, 200, 200]
        assert invalidate(server, {"issuedBefore": made[3]["createdAt"]}) == 204
        assert opened(server, tokens) == [401, 401, 401, 200]
        assert server.terminate() == 0
        server.start()
        assert opened(server, tokens) == [401, 401, 401, 200]
        assert server.terminate() == 0
