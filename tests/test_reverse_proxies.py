"""Behind nginx, configured as docs/reverse-proxies.md says: paths and answers arrive as they are.

Without nginx these tests are skipped, except in CI. tests/api/connections tests the same behaviour of Meterport over
raw sockets.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.harness.ports import free_ports
from tests.harness.preloaded import ROOT
from tests.harness.raw_http import eventually
from tests.harness.server import Server
from tests.harness.services import skip_or_fail

PAGE = ROOT / "docs" / "reverse-proxies.md"
KEY = "the-key-behind-the-proxy"
HEADERS = {"Authorization": f"Bearer {KEY}"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
SUBJECTS = [
    "gid://app/Customer/1234", "a/../b", "a%2Fb", "ä b+c", "a//b", "/lead", "trail/", "a?b#c", "urn:x:1", "a;b=c",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("behind"), variables={"METERPORT_API_KEY": KEY})
    running.start()
    yield running
    assert running.terminate() == 0, running.tail()


@pytest.fixture
def nginx(server: Server, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start nginx with the configuration of the page, and return its URL. Args: changes: replacements in it."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        skip_or_fail("nginx is not installed")
    started: list[subprocess.Popen[bytes]] = []

    def start(**changes: str) -> str:
        (text,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        (port,) = free_ports(1)
        changes |= {"127.0.0.1:8888": str(server.url).removeprefix("http://"), "listen 80": f"listen 127.0.0.1:{port}"}
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        places = "".join(
            f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root root;" if os.geteuid() == 0 else ""
        (tmp_path / "nginx.conf").write_text(
            f"{user} daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
            f"http {{ access_log off; {places}\n{text} }}\n"
        )
        process = subprocess.Popen([str(program), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(url), "nginx answers")
        return url

    yield start
    for process in started:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False


def test_ids_with_slashes_and_colons_pass_nginx_as_the_page_configures_it(nginx: Callable[..., str]) -> None:
    """N35: subjects are created, read, counted and deleted at exactly their own path."""
    with httpx.Client(base_url=nginx(), headers=HEADERS, timeout=30) as client:
        assert client.post("/api/v1/subjects", json=[{"key": key} for key in SUBJECTS]).status_code == 200
        for key in SUBJECTS:
            shown = client.get(f"/api/v1/subjects/{quote(key, safe='')}")
            assert (shown.status_code, shown.json().get("key")) == (200, key)
        left = set(SUBJECTS)
        for key in SUBJECTS:
            assert client.delete(f"/api/v1/subjects/{quote(key, safe='')}").status_code == 204
            left -= {key}
            assert {subject["key"] for subject in client.get("/api/v1/subjects").json()} == left


def test_nginx_passes_413_on(nginx: Callable[..., str]) -> None:
    """N29: nginx accepts a body that Meterport refuses. Before, 9 of 10 answers were 502."""
    url = nginx(**{"client_max_body_size 10m": "client_max_body_size 100m"})
    body = b"[" + b" " * 30_000_000 + b"]"

    statuses = [
        httpx.post(f"{url}/api/v1/events", headers=HEADERS | BATCH, content=body, timeout=60).status_code
        for _ in range(10)
    ]

    assert statuses == [413] * 10


def test_nginx_passes_a_chunked_query_that_is_too_large_on(nginx: Callable[..., str]) -> None:
    """N29: nginx does not wait for the whole body, so it is still sending when the answer comes."""
    url = nginx(**{"proxy_http_version 1.1;": "proxy_http_version 1.1; proxy_request_buffering off;"})
    statuses = []
    for _ in range(10):
        chunks = (b" " * 65_536 for _ in range(32))  # 2 MiB; a usage query may have 256 KiB
        answer = httpx.post(
            f"{url}/api/v1/meters/none/query", headers=HEADERS | {"Content-Type": "application/json"}, content=chunks
        )
        statuses.append(answer.status_code)

    assert statuses == [413] * 10
