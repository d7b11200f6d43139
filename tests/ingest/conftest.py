"""Fixtures of the Kafka tests: a topic with three partitions, and logs that read it.

The short form uses the newer group protocol, and the older one where a test gives or takes partitions. The chaos suite
uses the older one. The long form runs every test with both.
"""

from collections.abc import Callable, Iterator

import pytest

from ingest.kafka.log import KafkaLog
from tests.harness.broker import Kafka
from tests.harness.topics import Topic, require_real_broker

OpenLog = Callable[..., KafkaLog]


@pytest.fixture(params=["consumer", pytest.param("classic", marks=pytest.mark.only_long)])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def topic_options() -> dict[str, str]:
    """Return the options of the test's topic. A test that needs some has this parameter."""
    return {}


@pytest.fixture
def topic(broker: Kafka, topic_options: dict[str, str]) -> Topic:
    made = Topic(require_real_broker(broker).bootstrap, 3)
    broker.create_topic(made.name, 3, topic_options)
    return made


@pytest.fixture
def open_log(topic: Topic, protocol: str) -> Iterator[OpenLog]:
    """Return a function that opens a log, as another process of the group would. Its options are librdkafka's."""
    opened: list[KafkaLog] = []

    def open_(**options: str) -> KafkaLog:
        named = {name.replace("_", "."): value for name, value in options.items()}
        opened.append(log := KafkaLog(topic.settings(protocol, named)))
        log.pending()
        return log

    yield open_
    for log in opened:
        log.close()
