"""The start and the end of `meterport serve`: a data directory or a port that it cannot use, SIGTERM and draining."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.harness.command import meterport
from tests.harness.server import Server
from tests.harness.topics import wait_for


def _a_file(directory: Path) -> None:
    directory.write_text("")


def _a_lock_that_cannot_be_written(directory: Path) -> None:
    (directory / "lock").mkdir(parents=True)


def _a_store_that_is_none(directory: Path) -> None:
    directory.mkdir()
    (directory / "store").write_text("")


def _an_event_log_that_is_none(directory: Path) -> None:
    directory.mkdir()
    (directory / "log.sqlite").write_text("no database, " * 10)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (_a_file, "{} is not a directory"),
        (_a_lock_that_cannot_be_written, "cannot use {}: Is a directory"),
        (_an_event_log_that_is_none, "cannot keep the event log in {}/log.sqlite: file is not a database"),
        (_a_store_that_is_none, "Unable to open the chdb engine at '{}/store': "),
    ],
)
def test_a_data_directory_that_cannot_be_used(tmp_path: Path, made: Callable[[Path], None], told: str) -> None:
    directory = tmp_path / "data"
    made(directory)

    answer = meterport("serve", "--port", "0", "--data-dir", str(directory))

    assert answer.returncode == 78
    assert answer.stderr.splitlines()[-1].startswith(f"meterport: data_dir: {told.format(directory)}")
    assert "Traceback" not in answer.stderr
    assert "Stack trace" not in answer.stderr


@pytest.mark.parametrize("setting", ["server.port", "server.telemetry_port"])
def test_a_port_that_is_taken_ends_the_start(tmp_path: Path, setting: str) -> None:
    """Nobody could monitor a process without its telemetry port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"server.port": "0", setting: str(port)}
        variables = {f"METERPORT_{name.upper().replace('.', '__')}": value for name, value in ports.items()}
        answer = meterport("serve", "--data-dir", str(tmp_path), variables=variables)

    assert answer.returncode == 70
    assert f"meterport: {setting}: cannot listen on 127.0.0.1:{port}: Address already in use\n" in answer.stderr


def test_serve_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()

    assert server.terminate() == 0
    assert "stopping reason=" + signal.SIGTERM.name in server.tail()


def test_serve_answers_while_it_drains_and_says_that_it_stops(tmp_path: Path) -> None:
    """Load balancers learn from /readyz that they must send requests elsewhere, and until then they still send some."""
    server = Server(tmp_path, variables={"METERPORT_SERVER__DRAIN_SECONDS": "600"})
    server.start()
    with httpx.Client(base_url=server.url or "") as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.headers.get("connection")) == (200, None)

        server.signal(signal.SIGTERM)

        wait_for(lambda: client.get("/readyz").status_code == 503, server.tail)
        assert client.get("/readyz").json()["extensions"]["away"][0]["reason"] == "stopping"
        answer = client.get("/livez")
        # A client that keeps its connection would send a request at the moment at which the port closes.
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        meter = {"slug": "calls", "eventType": "call", "aggregation": "COUNT"}
        assert client.post("/api/v1/meters", json=meter).status_code == 201
        assert httpx.get(f"{server.url}/api/v1/meters").json()[0]["slug"] == "calls"  # a new connection
    assert "draining reason=SIGTERM seconds=600" in server.tail()
    assert server.terminate() == 0  # the second signal does not wait


def test_serve_ends_when_it_has_drained(tmp_path: Path) -> None:
    server = Server(tmp_path, variables={"METERPORT_SERVER__DRAIN_SECONDS": "0.5"})
    server.start()

    assert server.terminate() == 0
    assert "draining reason=SIGTERM seconds=0.5" in server.tail()
    assert "stopping reason=SIGTERM" in server.tail()
