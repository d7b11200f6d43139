"""A producer that brokers refuse for good is replaced until they take one: rights granted later are enough (N22b).

The broker is this test's own: it asks an authorizer.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from engine.errors import LogUnavailable
from ingest.kafka.producer import KafkaProducer
from tests.broker import Broker, create_topic
from tests.services import had
from tests.topics import WAIT_SECONDS, Topic, wait_for

AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
ALL = [(ResourceType.TOPIC, "*"), (ResourceType.BROKER, "kafka-cluster")]
WRITING = [
    (ResourceType.TOPIC, "*", AclOperation.WRITE),
    (ResourceType.BROKER, "kafka-cluster", AclOperation.IDEMPOTENT_WRITE),
]
EVENT = b'{"id":"1","source":"s","type":"t","subject":"u"}'


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = had(lambda: Broker(tmp_path_factory.mktemp("kafka"), AUTHORIZER))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def topic(process: Broker) -> Topic:
    made = Topic(process.bootstrap, 1)
    create_topic(process.bootstrap, made.name, 1)
    return made


def _rule(kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission)


def _deny_writing(admin: AdminClient) -> None:
    allowed = [_rule(kind, name, AclOperation.ALL, AclPermissionType.ALLOW) for kind, name in ALL]
    denied = [_rule(*writing, AclPermissionType.DENY) for writing in WRITING]
    _wait(admin.create_acls(allowed).values())
    _wait(admin.create_acls(denied).values())


def _grant_writing(admin: AdminClient) -> None:
    filters = [
        AclBindingFilter(
            kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, AclPermissionType.DENY
        )
        for kind, name, operation in WRITING
    ]
    _wait(admin.delete_acls(filters).values())


def _wait(futures: Iterable[Future[object]]) -> None:
    for future in futures:
        future.result(WAIT_SECONDS)


def _is_taken(producer: KafkaProducer) -> bool:
    try:
        return producer.append([EVENT], 1).exception(WAIT_SECONDS) is None
    except LogUnavailable:
        return False


def test_a_producer_that_lacked_its_rights_goes_on_when_they_are_granted(
    process: Broker, topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that serves delivery reports died, and every event was 503 until a restart."""
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    _deny_writing(admin)
    with closing(KafkaProducer(topic.settings().model_copy(update={"produce_seconds": 5}))) as producer:
        wait_for(lambda: "producer_renewed" in caplog.text)  # nothing was sent yet
        assert not _is_taken(producer)

        _grant_writing(admin)

        wait_for(lambda: _is_taken(producer), lambda: caplog.text[-2000:])
        assert producer._server.is_alive()
