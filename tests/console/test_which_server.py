"""Which server a command asks: one it runs itself, the process that has the data directory, or the one it is given."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import orjson
import pytest

from engine.store.data_directory import DirectoryLock
from tests.console.runs import KEY, cells
from tests.harness.command import meterport


def test_without_a_server_the_command_runs_one_itself(tmp_path: Path) -> None:
    directory = ("--data-dir", str(tmp_path / "data"))
    config = tmp_path / "meterport.yaml"
    config.write_text(f"api_key_sha256: {'f' * 64}\n")  # no client has this key, and none needs it here

    made = meterport("meters", "create", "calls", "--event-type=call", "--aggregation=COUNT", *directory)
    listed = meterport("meters", "list", *directory, "--config", str(config))
    deleted = meterport("meters", "delete", "calls", *directory)
    gone = meterport("meters", "list", "--format=json", *directory)

    assert (made.returncode, made.stderr) == (0, "")
    assert cells(listed.stdout)[1] == ["calls", "COUNT", "call"]
    assert (deleted.returncode, deleted.stderr) == (0, "deleted meter calls\n")
    assert orjson.loads(gone.stdout) == []


def test_a_process_that_has_the_directory_but_does_not_answer(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.announce("http://127.0.0.1:1")

    answer = meterport("meters", "list", "--data-dir", str(tmp_path))

    lock.release()
    assert answer.returncode == 1
    assert answer.stderr.startswith("meterport: no answer from http://127.0.0.1:1: ")
    assert "is in use by another meterport process" in answer.stderr
    assert answer.stderr.endswith(": give its URL with --server\n")


@pytest.mark.parametrize("url", ["http://192.0.2.1:8888", "http://[2001:db8::1]:8888", "http://evil.example:8888", "x"])
def test_the_key_goes_to_no_other_machine_that_a_lock_names(tmp_path: Path, url: str) -> None:
    """Like case S11: otherwise everyone who can write the file could make commands send them the API key."""
    lock = DirectoryLock(tmp_path)
    lock.announce(url)

    answer = meterport("meters", "list", "--data-dir", str(tmp_path), variables={"METERPORT_API_KEY": KEY})

    lock.release()
    assert answer.returncode == 78
    assert answer.stderr.startswith(
        f"meterport: data_dir: its lock names {url}, which is not an address of this machine; "
    )
    assert answer.stderr.endswith(": give its URL with --server\n")


def test_a_server_that_is_none_of_ours(tmp_path: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(502)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        answer = meterport("meters", "list", "--server", url, "--data-dir", str(tmp_path))
        other.shutdown()

    assert (answer.returncode, answer.stderr) == (1, f"meterport: {url}/api/v1/meters answers 502 Bad Gateway\n")


@pytest.mark.parametrize("url", ["", "localhost:8888", "foo"])
def test_a_server_that_is_no_url_is_refused_and_no_other_one_asked(tmp_path: Path, url: str) -> None:
    answer = meterport("meters", "list", "--server", url, "--data-dir", str(tmp_path / "data"))

    told = f"meterport: --server: {url!r} is not the URL of a server: http(s)://host:port\n"
    assert (answer.returncode, answer.stderr) == (78, told)
    assert not (tmp_path / "data").exists()
