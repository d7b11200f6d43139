"""Clients that know no broker any more: a new one replaces each of them.

The test has its own broker. Its controller believes every few seconds that it is away, so that it does not list itself.
"""

from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from engine.errors import LogUnavailable
from ingest.kafka.log import KafkaLog
from ingest.kafka.probe import BrokerProbe
from ingest.kafka.producer import KafkaProducer
from tests.harness.broker import Broker, create_topic
from tests.harness.services import available_or_skip
from tests.harness.topics import Topic, retry_until_answered, wait_for

EVENT = b'{"id":"1","source":"s","type":"t","subject":"u"}'
OFTEN_AWAY = {"broker.heartbeat.interval.ms": "4000", "broker.session.timeout.ms": "2000"}
NEVER_AWAY = {"broker.heartbeat.interval.ms": "500"}
# Without a second attempt at `bootstrap.servers` each client forgets its broker, and not only one of many.
FORGETFUL = {"metadata.recovery.strategy": "none", "topic.metadata.refresh.interval.ms": "100"}


def test_clients_that_know_no_broker_any_more_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.kafka.known_brokers.REPORT_SECONDS", 0.1)
    process = available_or_skip(lambda: Broker(tmp_path, OFTEN_AWAY))
    process.start()
    with ExitStack() as ends:
        ends.callback(process.kill)
        topic = Topic(process.bootstrap, 1)
        wait_for(lambda: _is_created(topic))
        settings = topic.settings(options=FORGETFUL).model_copy(update={"produce_seconds": 2})
        producer = ends.enter_context(closing(KafkaProducer(settings)))
        logs = [ends.enter_context(closing(_open_log(topic, protocol))) for protocol in ("consumer", "classic")]
        probe = BrokerProbe(settings, produces=True, consumes=True, seconds=1)

        def clients() -> list[object]:
            with suppress(LogUnavailable):
                probe.ask()
            for log in logs:
                with suppress(LogUnavailable):
                    log.read(10, 1000, 0)
            return [producer._producer, *(log._member._consumer for log in logs), probe._admin]

        wait_for(lambda: _is_appended(producer))
        wait_for(lambda: None not in clients())
        first = clients()
        wait_for(lambda: all(new is not old for new, old in zip(clients(), first, strict=True)))
        process.kill()
        process.configure(NEVER_AWAY)
        process.start()

        wait_for(lambda: _is_appended(producer))
        for log in logs:
            wait_for(lambda log=log: len(retry_until_answered(lambda: log.read(10, 1000, 0.1))) >= 2)  # type: ignore[misc]
        retry_until_answered(probe.ask)


def _is_appended(producer: KafkaProducer) -> bool:
    return producer.append([EVENT], 1).exception(30) is None


def _is_created(topic: Topic) -> bool:
    try:
        return bool(create_topic(topic.bootstrap, topic.name, topic.partitions))
    except TimeoutError:
        return False
    except KafkaException as exception:
        return bool(exception.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS)


def _open_log(topic: Topic, protocol: str) -> KafkaLog:
    """Open a log of a group of its own."""
    return KafkaLog(topic.settings(protocol, FORGETFUL).model_copy(update={"group": f"{topic.name}-{protocol}"}))
