"""A broker with an authorizer, and topics on it that are right. A module that imports `process` gets its own broker."""

from collections.abc import Iterator

import pytest

from tests.harness.acls import AUTHORIZER
from tests.harness.broker import Broker, create_topic
from tests.harness.services import available_or_skip
from tests.harness.topics import Topic

DAY_MS = 86_400_000
ONE_BROKER = {"topic replicas"}  # there is only one broker, so that this warning is always given


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = available_or_skip(lambda: Broker(tmp_path_factory.mktemp("kafka"), AUTHORIZER))
    made.start()
    first = Topic(made.bootstrap, 1, "first")
    create_topic(made.bootstrap, first.name, 1)
    first.commit({0: (0, "")})  # the brokers have groups
    yield made
    made.kill()


def good_topic(process: Broker, partitions: int, **options: str) -> Topic:
    """Create a topic. Args: options: those that are not as they should be, with _ for a dot."""
    made = Topic(process.bootstrap, partitions)
    named = {name.replace("_", "."): value for name, value in options.items()}
    create_topic(process.bootstrap, made.name, partitions, {"retention.ms": str(8 * DAY_MS)} | named)
    return made
