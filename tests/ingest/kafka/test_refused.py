"""Clients that brokers refuse, or that fail for good: rights may be granted later (N22b), and /readyz names them (N22).

These tests have their own broker, which has an authorizer.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from engine.config.settings import Settings
from engine.errors import LogUnavailable
from engine.metrics import REGISTRY
from engine.store.clickhouse import Store
from ingest.event_log import ranges_of
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from tests.harness.acls import ALL, AUTHORIZER, deny, grant, rule, wait_until_done
from tests.harness.alerts import check_fires, scrape
from tests.harness.broker import Broker, create_topic
from tests.harness.services import available_or_skip
from tests.harness.topics import WAIT_SECONDS, Topic, read, values, wait_for
from tests.ingest.kafka.monitored import monitored, reasons

WRITING = [
    (ResourceType.TOPIC, "*", AclOperation.WRITE),
    (ResourceType.BROKER, "kafka-cluster", AclOperation.IDEMPOTENT_WRITE),
]
GROUP_READ = (ResourceType.GROUP, AclOperation.READ)
EVENT = b'{"id":"1","source":"s","type":"t","subject":"u"}'


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = available_or_skip(lambda: Broker(tmp_path_factory.mktemp("kafka"), AUTHORIZER))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def topic(process: Broker) -> Topic:
    made = Topic(process.bootstrap, 1)
    create_topic(process.bootstrap, made.name, 1)
    return made


def _deny_writing(admin: AdminClient) -> None:
    allowed = [rule(kind, name, AclOperation.ALL, AclPermissionType.ALLOW) for kind, name in ALL]
    denied = [rule(*writing, AclPermissionType.DENY) for writing in WRITING]
    wait_until_done(admin.create_acls(allowed).values())
    wait_until_done(admin.create_acls(denied).values())


def _grant_writing(admin: AdminClient) -> None:
    filters = [
        AclBindingFilter(
            kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, AclPermissionType.DENY
        )
        for kind, name, operation in WRITING
    ]
    wait_until_done(admin.delete_acls(filters).values())


def _is_taken(producer: KafkaProducer) -> bool:
    try:
        return producer.append([EVENT], 1).exception(WAIT_SECONDS) is None
    except LogUnavailable:
        return False


def test_a_producer_that_lacked_its_rights_goes_on_when_they_are_granted(process: Broker, topic: Topic) -> None:
    """Before, the thread for delivery reports died, and every event was answered 503 until a restart."""
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    _deny_writing(admin)
    with closing(KafkaProducer(topic.settings().model_copy(update={"produce_seconds": 5}))) as producer:
        assert not _is_taken(producer)

        _grant_writing(admin)

        wait_for(lambda: _is_taken(producer))


def test_a_log_whose_client_fails_for_good_while_nobody_reads_ends_the_process(topic: Topic) -> None:
    """N22b: the thread that keeps the membership ends. Ingest, which waits for the store, would notice it too late.

    The log is in a process of its own: librdkafka cannot close such a client, and one of its threads does not stop
    computing as long as the process lives.
    """
    child = [sys.executable, "-m", "tests.harness.kafka_child", topic.bootstrap, topic.name, "1", "classic", "fail"]

    told = subprocess.run(child, capture_output=True, text=True, check=True, timeout=2 * WAIT_SECONDS).stdout

    assert told == "ended by kafka-keeper: LogFailed\n"


def _refusals(right: str) -> float:
    return REGISTRY.get_sample_value("meterport_kafka_refusals_total", {"right": right}) or 0


@pytest.mark.parametrize(
    ("kind", "operation", "name", "stops", "protocol"),
    [
        (ResourceType.TOPIC, AclOperation.WRITE, "Write on topic", "events", "classic"),
        (ResourceType.TOPIC, AclOperation.READ, "Read on topic", "ingest", "classic"),
        (ResourceType.TOPIC, AclOperation.DESCRIBE, "Read on topic", "ingest", "classic"),
        (ResourceType.GROUP, AclOperation.READ, "Read on group", "ingest", "classic"),
        (ResourceType.GROUP, AclOperation.READ, "Read on group", "ingest", "consumer"),
    ],
)
def test_a_right_that_is_missing_is_named_and_counted_for_as_long_as_it_is(
    process: Broker,
    topic: Topic,
    store: Store,
    settings: Settings,
    kind: ResourceType,
    operation: AclOperation,
    name: str,
    stops: str,
    protocol: str,
) -> None:
    """N22: librdkafka reports a refusal once. Before, /readyz was 200, and the counter of failures did not grow."""
    right = f"{name} {topic.name}"
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    topic.put(EVENT)
    deny(admin, kind, operation)
    try:
        with monitored(topic, store, settings, protocol) as (health, log):
            wait_for(lambda: any(right in reason for reason in reasons(health, log)), health.readiness)
            counted, first = _refusals(right), scrape()
            wait_for(lambda: reasons(health, log) != [] and _refusals(right) >= counted + 2)
            second = scrape()
            available_or_skip(lambda: check_fires("MeterportRefused", first, second, 1))
            assert stops not in health.readiness().works

            grant(admin, kind, operation)

            wait_for(lambda: reasons(health, log) == [] and log.waiting() > 0, health.readiness)
            assert stops in health.readiness().works
    finally:
        grant(admin, kind, operation)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_member_that_loses_its_right_comes_back_when_it_is_granted(
    process: Broker, topic: Topic, protocol: str
) -> None:
    """Before, with the newer protocol, the process ended, together with the API of `serve`."""
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    topic.put(EVENT, EVENT)
    before = _leaving()
    with closing(KafkaLog(topic.settings(protocol))) as log:
        log.plan(ranges_of(read(log, 2)), 5000)
        topic.put(EVENT)
        read(log, 1)  # it is read but not planned
        deny(admin, *GROUP_READ)
        try:
            wait_for(lambda: _is_refused(log))
        finally:
            grant(admin, *GROUP_READ)

        wait_for(lambda: _acknowledged(log) and topic.committed() == {0: (2, "")})
        assert values(read(log, 1)) == [EVENT]
        wait_for(lambda: _leaving() <= before)  # none of the refused clients is left


def _leaving() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "kafka-leave"}


def _acknowledged(log: KafkaLog) -> bool:
    """Acknowledge the plans of a log, as the consumer does after storing them."""
    with suppress(LogUnavailable):
        for plan in log.planned():
            log.acknowledge(plan)
    return True


def _is_refused(log: KafkaLog) -> bool:
    with suppress(LogUnavailable):
        log.read(10, 1 << 20, 0.1)
    return log.monitor.refused
