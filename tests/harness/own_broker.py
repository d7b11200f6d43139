"""A broker that tests stop and kill, for the module that imports these fixtures: `process`, and `broker` over it."""

import secrets
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException

from tests.harness.broker import Broker, Kafka, Kind, create_topic
from tests.harness.services import had
from tests.harness.topics import wait_for


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = had(lambda: Broker(tmp_path_factory.mktemp("kafka")))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def broker(process: Broker) -> Iterator[Kafka]:
    """The broker of these tests, whatever the test before did to it."""
    if not process.running:
        process.start()
    wait_for(lambda: _is_let_in(process))
    yield Kafka(Kind.MAVEN, process.bootstrap, "their own")
    if process.running:
        process.continue_()
    else:
        process.start()


def _is_let_in(process: Broker) -> bool:
    """Whether the controller has heard that the broker is back; until then no topic can be made."""
    try:
        return bool(create_topic(process.bootstrap, f"scratch-{secrets.token_hex(4)}", 1))
    except (KafkaException, TimeoutError):
        return False


def hang(process: Broker) -> None:
    """Let a broker answer no more; connections stay open."""
    process.stop_signal()
    time.sleep(0.2)  # what is being answered is answered
