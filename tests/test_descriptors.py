"""Open files: the limit is raised at start, connections leave enough for the store, and floods of them break nothing.

The tests use real processes, because the limit on open files belongs to a process.
"""

import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.server.descriptors import Share
from tests.harness.preloaded import ROOT
from tests.harness.raw_http import eventually
from tests.harness.server import SERVE, Server

ASK = "from api.server.descriptors import connections_share; print(tuple(connections_share()))"
FLOOD = 300


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server under the `ulimit` of a shell. It is ended even if the test fails."""
    started: list[Server] = []

    def start(limits: str, **variables: str) -> Server:
        server = Server(tmp_path, ["/bin/sh", "-c", f'{limits}; exec "$@"', "sh", *SERVE], variables)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.mark.parametrize(
    ("limit", "share"),
    [(256, Share(64, 32)), (1024, Share(256, 128)), (1700, Share(932, 212)), (4096, Share(1024, 256))],
)
def test_connections_leave_the_store_its_descriptors(limit: int, share: Share) -> None:
    """S2: the store keeps 768 of them, or three quarters if there are fewer."""
    asked = ["/bin/sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", sys.executable, "-c", ASK]

    answer = subprocess.run(asked, cwd=ROOT, capture_output=True, check=True, text=True)

    assert answer.stdout.strip() == str(tuple(share))


def test_the_units_raise_the_limit() -> None:
    """S2: systemd's own soft limit is 1,024."""
    units = sorted((ROOT / "deploy").glob("*.service"))

    assert len(units) == 3
    assert [unit.name for unit in units if "\nLimitNOFILE=65536\n" not in unit.read_text()] == []


def test_the_soft_limit_is_raised_to_the_hard_one(serve: Callable[..., Server]) -> None:
    """S2: there is no warning, because the hard limit is high enough."""
    server = serve("ulimit -Sn 256; ulimit -Hn 8192")
    pid = int(server.directory.joinpath("data", "lock").read_text().split()[0])
    limits = Path(f"/proc/{pid}/limits").read_text()

    assert server.terminate() == 0
    assert re.findall(r"Max open files\s+(\d+)\s+(\d+)", limits) == [("8192", "8192")]
    assert "few_descriptors" not in server.tail()


@contextlib.contextmanager
def flooded(port: int, start: bytes) -> Iterator[list[socket.socket]]:
    """Open more connections than are allowed, each with part of a request or nothing, and keep them open."""
    connections = []
    try:
        for _ in range(FLOOD):
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connections.append(connection)
            connection.sendall(start)
        yield connections
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("start", [b"", b"GET /livez HTTP/1.1\r\nX: "], ids=["silent", "open heads"])
def test_a_flood_of_connections_ends_neither_ingest_nor_revocation(serve: Callable[..., Server], start: bytes) -> None:
    """S2: 300 connections without credentials, at a limit of 400. Before, the process could no longer open any file."""
    names = ("FIRST_BYTE_SECONDS", "HEAD_SECONDS")
    server = serve(
        "ulimit -n 400",
        METERPORT_SERVER__TELEMETRY_PORT="0",
        **{f"METERPORT_SERVER__{name}": "600" for name in names},
    )
    telemetry = server.telemetry_url()
    meter = {"slug": "prompts", "eventType": "prompt", "aggregation": "COUNT"}
    with httpx.Client(base_url=str(server.url), timeout=60) as client:
        assert client.post("/api/v1/meters", json=meter).status_code == 201
        with flooded(urlsplit(str(server.url)).port or 0, start):
            assert _is_metered(server, telemetry)
    said = server.log.read_text()
    assert server.terminate() == 0, server.tail()
    assert "few_descriptors limit=400 connections=100" in said
    assert re.findall(r"worker_failed.*|.*Too many open files.*|.*request_failed.*", said) == []


def _is_metered(server: Server, telemetry: str) -> bool:
    """Send events, query usage, create a token and revoke it, each over a new connection."""
    url = f"{server.url}/api/v1"
    event = {"specversion": "1.0", "source": "s", "type": "prompt", "subject": "acme"}

    def ask(method: str, path: str, **options: object) -> httpx.Response:
        """Retry a request: a new connection replaces one that has waited for a second, but at first none may have."""
        answers: list[httpx.Response] = []

        def is_taken() -> bool:
            answers.append(httpx.request(method, f"{url}{path}", timeout=60, **options))  # type: ignore[arg-type]
            return answers[-1].status_code != 503

        eventually(is_taken, f"{method} {path}")
        return answers[-1]

    for number in range(20):
        assert ask("POST", "/events", json={**event, "id": str(number)}).status_code == 204
    eventually(lambda: _counted(ask("GET", "/meters/prompts/query")) == 20, "20 events are counted")
    token = ask("POST", "/portal/tokens", json={"subject": "acme"}).json()
    mine = {"Authorization": f"Bearer {token['token']}"}
    assert ask("GET", "/portal/meters", headers=mine).status_code == 200
    assert ask("POST", "/portal/tokens/invalidate", json={"id": token["id"]}).status_code == 204
    eventually(lambda: ask("GET", "/portal/meters", headers=mine).status_code == 401, "the token is revoked")
    for path in ("/readyz", "/metrics"):
        assert httpx.get(f"{telemetry}{path}", timeout=60).status_code == 200
    return True


def _counted(answer: httpx.Response) -> float:
    return float(sum(row["value"] for row in answer.json()["data"]))
