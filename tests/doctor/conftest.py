"""A broker with an authorizer, which the tests of this folder share. They give back the rights that they take away."""

from collections.abc import Iterator

import pytest

from tests.harness.acls import AUTHORIZER
from tests.harness.broker import Broker, create_topic
from tests.harness.folder_services import FolderServices
from tests.harness.services import available_or_skip
from tests.harness.topics import Topic

_services = FolderServices()
_brokers: list[Broker] = []  # the one of this worker, while it runs tests of this folder


@pytest.fixture
def process(tmp_path_factory: pytest.TempPathFactory) -> Broker:
    if not _brokers:
        made = available_or_skip(lambda: Broker(tmp_path_factory.mktemp("kafka"), AUTHORIZER))
        _services.callback(made.kill)
        made.start()
        first = Topic(made.bootstrap, 1, "first")
        create_topic(made.bootstrap, first.name, 1)
        first.commit({0: (0, "")})  # the brokers have groups
        _brokers.append(made)
        _services.callback(_brokers.clear)
    return _brokers[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End the broker with the last test of this folder."""
    try:
        yield
    finally:
        _services.end_after(item, nextitem)
