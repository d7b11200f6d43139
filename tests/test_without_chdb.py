"""Meterport without chDB, as it is installed without `[embedded]`: on a server it works, and alone it says why not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.clickhouse import ClickHouseServer
from tests.harness.ports import free_ports
from tests.harness.preloaded import ROOT
from tests.harness.topics import wait_for

ABSENT = "raise ModuleNotFoundError(f'No module named {__name__!r}', name=__name__)\n"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield variables with which Python finds neither chDB nor pandas, which comes with it."""
    for name in ("chdb", "chdb_core", "pandas"):
        (tmp_path / "without" / name).mkdir(parents=True)
        (tmp_path / "without" / name / "__init__.py").write_text(ABSENT)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
    yield {**inherited, "PYTHONPATH": str(tmp_path / "without"), "METERPORT_DATA_DIR": str(tmp_path / "data")}


def _start(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as errors:
        return subprocess.Popen([sys.executable, "-m", "meterport", "serve"], cwd=ROOT, env=environment, stderr=errors)


def test_alone_it_says_what_to_install(environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"

    assert _start(environment, log).wait(60) == 78

    assert log.read_text().splitlines()[-1] == (
        "meterport: store.url: is not set, and the embedded store is not installed: set it, or install "
        "meterport[embedded]"
    )


def test_on_a_server_it_counts_and_answers(
    environment: dict[str, str], clickhouse_server: ClickHouseServer, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    variables = {
        "METERPORT_SERVER__PORT": str(port),
        "METERPORT_STORE__URL": clickhouse_server.url,
        "METERPORT_STORE__DATABASE": "without_chdb",
        "METERPORT_PORTAL__TOKEN_KEYS": '["0123456789abcdef0123"]',
        "METERPORT_METERS": '[{"slug": "calls", "eventType": "call", "aggregation": "COUNT"}]',
    }
    service = _start({**environment, **variables}, log)
    try:
        wait_for(lambda: "for=api" in log.read_text(), log.read_text)
        event = {"specversion": "1.0", "id": "1", "source": "tests", "type": "call", "subject": "acme"}
        media = {"Content-Type": "application/cloudevents+json"}
        assert httpx.post(f"{url}/api/v1/events", json=event, headers=media).status_code == 204
        usage = f"{url}/api/v1/meters/calls/query"
        wait_for(lambda: [row["value"] for row in httpx.get(usage).json()["data"]] == [1], log.read_text)
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
