"""The ports of a process: what answers on them may change, no connection is lost by that, and their servers end."""

import threading
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.errors import AddressUnavailable
from meterport.ports import API, TELEMETRY, Ports
from tests.harness.topics import wait_for


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(overrides={"data_dir": tmp_path, "server": {"port": 0, "telemetry_port": 0}})


def _ignore() -> None:
    """Do nothing about a server that has failed."""


def _url(listening: list[int]) -> str:
    wait_for(lambda: bool(listening))
    return f"http://127.0.0.1:{listening[-1]}/"


@pytest.mark.parametrize("port", [API, TELEMETRY])
def test_a_connection_outlives_a_change_of_what_answers(settings: Settings, port: str) -> None:
    """A process that was waiting for its store hands its ports over: load balancers keep their connections."""
    listening: list[int] = []
    with Ports(settings, _ignore) as ports:
        ports.answer(port, PlainTextResponse("one"), port, listening.append)
        with httpx.Client(base_url=_url(listening)) as client, client.stream("GET", "/") as first:
            assert first.read() == b"one"
            connection = first.extensions["network_stream"].get_extra_info("client_addr")

            ports.answer(port, PlainTextResponse("other"), port, listening.append)

            with client.stream("GET", "/") as second:
                assert second.read() == b"other"
                assert second.extensions["network_stream"].get_extra_info("client_addr") == connection
        assert listening == [listening[0]] * 2


def test_the_servers_end_before_the_process_does(settings: Settings) -> None:
    """A thread that still serves while the interpreter ends can crash it."""
    listening: list[int] = []
    with Ports(settings, _ignore) as ports:
        for port in (API, TELEMETRY):
            ports.answer(port, PlainTextResponse(port), port, listening.append)
        wait_for(lambda: len(listening) == 2)
        assert {API, TELEMETRY} <= {thread.name for thread in threading.enumerate()}

    assert not {API, TELEMETRY} & {thread.name for thread in threading.enumerate()}
    for number in listening:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{number}/")


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    listening: list[int] = []
    with Ports(settings, _ignore) as ports:
        ports.answer(API, PlainTextResponse("one"), API, listening.append)
        _url(listening)
        server = settings.server.model_copy(update={"port": listening[0]})

        with (
            Ports(settings.model_copy(update={"server": server}), _ignore) as others,
            pytest.raises(AddressUnavailable),
        ):
            others.answer(API, PlainTextResponse("other"), API)
