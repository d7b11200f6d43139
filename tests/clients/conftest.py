"""A running server with a management key, for the tests of published clients."""

from collections.abc import Iterator

import pytest

from tests.harness.server import Server

API_KEY = "client-tests-management-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("clients"), variables={"METERPORT_API_KEY": API_KEY})
    running.start()
    yield running
    assert running.terminate() == 0, running.tail()
