"""Variables of somebody else's in the environment of a process: none of them keeps it from serving (N1, its kind)."""

from pathlib import Path

import httpx
import pytest

from tests.server import Server

FOREIGN = {
    "Kubernetes": {"METERPORT_PORT": "tcp://10.0.0.1:8888", "METERPORT_SERVICE_HOST": "10.0.0.1"},
    "a number of workers that is none": {"WEB_CONCURRENCY": "auto"},
    "a zone nobody knows": {"TZ": "Foo/Bar"},
    "a zone as POSIX writes it": {"TZ": "<+03>-3"},
}


@pytest.mark.parametrize("variables", FOREIGN.values(), ids=FOREIGN)
def test_a_server_answers_whatever_others_have_set(tmp_path: Path, variables: dict[str, str]) -> None:
    """uvicorn read WEB_CONCURRENCY and chDB read TZ: the process ended with a traceback."""
    server = Server(tmp_path, variables=variables)
    server.start()

    answer = httpx.get(f"{server.url}/readyz")

    assert server.terminate() == 0
    assert answer.json() == {"status": "ok"}
