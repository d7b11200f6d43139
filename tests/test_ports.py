"""The ports of services that tests start are free, and for one service each."""

import json
import secrets
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.harness.ports import FIRST_PORT, PORTS, free_ports
from tests.harness.preloaded import ROOT

TAKE = "import sys; from tests.harness.ports import free_ports; print([*free_ports(200), *free_ports(200)]); input()"


def test_no_port_is_given_twice_by_any_process() -> None:
    """Of 800 ports that are drawn independently, two are the same almost always."""
    with ExitStack() as ends:
        takers = [
            ends.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", TAKE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(2)
        ]
        ports = [port for taker in takers if taker.stdout for port in json.loads(taker.stdout.readline())]

        assert len(ports) == len(set(ports)) == 800
        for taker in takers:
            taker.communicate("\n", 60)


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        number = used.getsockname()[1]
        drawn = iter([number - FIRST_PORT, *range(PORTS)])
        monkeypatch.setattr(secrets, "randbelow", lambda _: next(drawn))

        [port] = free_ports(1)

    assert port != number
