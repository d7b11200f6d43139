"""Fixtures of the tests on Kafka: a topic of three partitions, and logs that read it, by either group protocol."""

from collections.abc import Callable, Iterator

import pytest

from ingest.kafka.log import KafkaLog
from tests.harness.broker import Kafka
from tests.harness.topics import Topic, require_real_broker

OpenLog = Callable[..., KafkaLog]


@pytest.fixture(params=["consumer", "classic"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def topic(broker: Kafka) -> Topic:
    made = Topic(require_real_broker(broker).bootstrap, 3)
    broker.create_topic(made.name, 3)
    return made


@pytest.fixture
def open_log(topic: Topic, protocol: str) -> Iterator[OpenLog]:
    """Open a log as one more process of the group would; options are librdkafka's, with underscores."""
    opened: list[KafkaLog] = []

    def open_(**options: str) -> KafkaLog:
        named = {name.replace("_", "."): value for name, value in options.items()}
        opened.append(log := KafkaLog(topic.settings(protocol, named)))
        log.pending()
        return log

    yield open_
    for log in opened:
        log.close()
