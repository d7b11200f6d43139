"""A broker that tests may stop and kill. A module that imports the fixtures `process` and `broker` gets its own."""

import secrets
import sys
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException

from tests.harness.broker import Broker, Kafka, Kind, create_topic
from tests.harness.services import available_or_skip
from tests.harness.topics import wait_for


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    started = available_or_skip(lambda: Broker(tmp_path_factory.mktemp("kafka")))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def broker(process: Broker) -> Iterator[Kafka]:
    """Yield this module's broker, running again whatever the previous test did to it."""
    if not process.running:
        process.start()
    wait_for(lambda: _accepts_topics(process))
    yield Kafka(Kind.MAVEN, process.bootstrap, "the module's own broker")
    if process.running:
        process.continue_()
    else:
        process.start()
    sys.stdout.write(process.tail())  # pytest shows it if the test failed


def _accepts_topics(process: Broker) -> bool:
    """Return whether the controller knows that the broker is back. Until then no topic can be created."""
    try:
        return bool(create_topic(process.bootstrap, f"scratch-{secrets.token_hex(4)}", 1))
    except (KafkaException, TimeoutError):
        return False


def hang(process: Broker) -> None:
    """Make a broker stop answering. Its connections stay open."""
    process.stop_signal()
    time.sleep(0.2)  # answers that were on their way have arrived
