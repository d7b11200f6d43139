"""`meterport doctor` names what is wrong with the brokers and the rights, in one line that says what to do.

The broker has an authorizer, and the tests take rights away one by one.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from tests.doctor.good_topic import ONE_BROKER, good_topic
from tests.doctor.runs import diagnose_kafka
from tests.harness.acls import deny, grant
from tests.harness.broker import Broker
from tests.harness.services import available_or_skip
from tests.harness.tls_front import Authority, TlsFront
from tests.harness.topics import Topic, wait_for

SEE = '(docs/operations.md "The topic")'
ACLS = 'add ACLs (docs/settings.md "TLS and SASL")'


@pytest.fixture
def topic(process: Broker) -> Topic:
    return good_topic(process, 3)


def test_a_topic_that_is_right_has_no_fault(topic: Topic, tmp_path: Path) -> None:
    found = diagnose_kafka(topic, tmp_path)

    assert (found.status, found.faults(), {*found.warnings()}, found.skipped()) == (0, {}, ONE_BROKER, {})
    assert found.errors == ""
    assert found.lines["kafka group"] == ("ok", f"this user may read as {topic.name}")


# --- the brokers ------------------------------------------------------------------------------------------------------


def test_brokers_that_are_away_are_named(tmp_path: Path) -> None:
    found = diagnose_kafka(None, tmp_path, brokers="127.0.0.1:1,kafka.invalid:9092")

    assert [*found.faults()] == ["kafka addresses"]
    first, second = found.faults()["kafka addresses"].split("; kafka")
    assert first == (
        "kafka.brokers: 127.0.0.1:1 refuses the connection: nothing listens there: correct the address, or start the "
        "server"
    )
    assert second.startswith(".brokers: no address is known for the host kafka.invalid (")
    assert found.skipped()["kafka topic"] == "not checked, because `kafka brokers` failed or was skipped"
    assert found.skipped()["topic cleanup.policy"] == "not checked, because `topic options` failed or was skipped"
    assert found.lines["data directory"][0] == "ok"


@pytest.mark.only_long
def test_one_broker_of_several_that_is_away_is_a_warning(topic: Topic, tmp_path: Path) -> None:
    found = diagnose_kafka(topic, tmp_path, brokers=f"127.0.0.1:1,{topic.bootstrap}")

    assert (found.status, found.faults()) == (0, {})
    assert found.warnings()["kafka addresses"].startswith(
        "some cannot be used, the others answer: kafka.brokers: 127.0.0.1:1 refuses "
    )


@pytest.mark.only_long
def test_an_address_that_a_broker_advertises_and_does_not_have_is_named(tmp_path: Path) -> None:
    broker = available_or_skip(lambda: Broker(tmp_path / "kafka", {"advertised.listeners": "PLAINTEXT://127.0.0.1:1"}))
    broker.start()
    try:
        found = diagnose_kafka(None, tmp_path / "data", brokers=broker.bootstrap)
    finally:
        broker.kill()

    assert found.lines["kafka addresses"][0] == "ok"
    assert found.faults()["kafka brokers"] == (
        "advertised.listeners of broker 1: 127.0.0.1:1 refuses the connection: nothing listens there: correct the "
        "address, or start the server"
    )
    assert {"kafka topic", "kafka rights", "kafka group"} <= {*found.skipped()}


def test_brokers_that_hang_are_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        found = diagnose_kafka(None, tmp_path, brokers=address)

    assert found.faults()["kafka addresses"].startswith(
        f"kafka.brokers: {address} takes connections, but does not answer as a broker: start it again, or correct "
        "kafka.security_protocol: "
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@contextmanager
def _tls(context: ssl.SSLContext, topic: Topic) -> Iterator[str]:
    front = TlsFront(context, int(topic.bootstrap.rpartition(":")[2]))
    yield f"127.0.0.1:{front.port}"
    front.close()


@pytest.mark.parametrize(
    ("context", "trusted", "message"),
    [
        (Authority.expired_context, True, "kafka.brokers: the certificate of 127.0.0.1 has expired: renew it on the "),
        pytest.param(
            lambda made: made.server_context("kafka.example"),
            True,
            "kafka.brokers: the certificate is not for 127.0.0.1",
            marks=pytest.mark.only_long,
        ),
        pytest.param(
            Authority.server_context,
            False,
            "kafka.ssl_ca_location: the certificate of 127.0.0.1 is signed by an unknown ",
            marks=pytest.mark.only_long,
        ),
    ],
    ids=["expired", "wrong host", "unknown authority"],
)
def test_a_certificate_that_is_not_accepted_is_named(
    authority: Authority,
    topic: Topic,
    tmp_path: Path,
    context: Callable[[Authority], ssl.SSLContext],
    trusted: bool,
    message: str,
) -> None:
    ca = {"ssl_ca_location": str(authority.ca_file)} if trusted else {}
    with _tls(context(authority), topic) as address:
        found = diagnose_kafka(topic, tmp_path, brokers=address, security_protocol="SSL", **ca)

    assert [*found.faults()] == ["kafka addresses"]
    assert found.faults()["kafka addresses"].startswith(message)


# --- rights -----------------------------------------------------------------------------------------------------------


@contextmanager
def without(process: Broker, kind: ResourceType, *operations: AclOperation) -> Iterator[None]:
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    for operation in operations:
        deny(admin, kind, operation)
    try:
        yield
    finally:
        for operation in operations:
            grant(admin, kind, operation)


@pytest.mark.parametrize(
    ("operation", "right", "use"),
    [
        pytest.param(AclOperation.WRITE, "Write", "events over HTTP", marks=pytest.mark.only_long),
        (AclOperation.READ, "Read", "ingest"),
    ],
)
def test_a_right_on_the_topic_that_is_missing_is_named(
    process: Broker, topic: Topic, tmp_path: Path, operation: AclOperation, right: str, use: str
) -> None:
    fault = f"this user lacks {right} on topic {topic.name}, needed for {use}: {ACLS}"
    with without(process, ResourceType.TOPIC, operation):
        wait_for(
            lambda: diagnose_kafka(topic, tmp_path).faults() == {"kafka rights": fault},
            lambda: diagnose_kafka(topic, tmp_path),
        )


def test_a_topic_that_may_not_be_described_is_named(process: Broker, topic: Topic, tmp_path: Path) -> None:
    with without(process, ResourceType.TOPIC, AclOperation.DESCRIBE):
        wait_for(lambda: "kafka topic" in diagnose_kafka(topic, tmp_path).faults())
        found = diagnose_kafka(topic, tmp_path)

    assert found.faults()["kafka topic"] == (
        f"kafka.topic: {topic.name} does not exist, or this user lacks Describe on it: grant the right"
    )
    assert found.faults()["kafka rights"].startswith(f"this user lacks Read on topic {topic.name}, Write on topic ")


@pytest.mark.parametrize(
    "operation", [AclOperation.READ, pytest.param(AclOperation.DESCRIBE, marks=pytest.mark.only_long)]
)
def test_a_right_on_the_group_that_is_missing_is_named(
    process: Broker, topic: Topic, tmp_path: Path, operation: AclOperation
) -> None:
    with without(process, ResourceType.GROUP, operation):
        wait_for(lambda: [*diagnose_kafka(topic, tmp_path).faults()] == ["kafka group"])
        found = diagnose_kafka(topic, tmp_path)

    assert found.faults()["kafka group"] == (
        f"kafka.group: this user lacks Read on group {topic.name}, needed for ingest: add an ACL "
        '(docs/settings.md "TLS and SASL")'
    )


def test_a_topic_that_may_not_be_created_is_named(process: Broker, tmp_path: Path) -> None:
    missing = Topic(process.bootstrap, 3)
    with (
        without(process, ResourceType.BROKER, AclOperation.CREATE),
        without(process, ResourceType.TOPIC, AclOperation.CREATE),
    ):
        wait_for(lambda: diagnose_kafka(missing, tmp_path).status == 1)
        found = diagnose_kafka(missing, tmp_path, dead_letter_topic="dead")

    assert found.faults() == {
        "kafka topic": f"kafka.topic: {missing.name} does not exist, and the brokers would not let this user create it "
        f"(Authorization failed): create it {SEE}, or grant Create on it",
        "dead letter topic": "kafka.dead_letter_topic: dead does not exist, and the brokers would not let this user "
        f"create it (Authorization failed): create it {SEE}, or grant Create on it",
    }


@pytest.mark.only_long
def test_more_replicas_than_brokers_are_named(process: Broker, tmp_path: Path) -> None:
    found = diagnose_kafka(Topic(process.bootstrap, 3), tmp_path, replication_factor="3")

    assert "replication factor" in found.faults()["kafka topic"]


def test_a_topic_that_does_not_exist_is_created_by_the_first_start(process: Broker, tmp_path: Path) -> None:
    missing = Topic(process.bootstrap, 3)

    found = diagnose_kafka(missing, tmp_path)

    assert (found.status, found.faults(), found.warnings()) == (0, {}, {})
    assert found.lines["kafka topic"] == (
        "ok",
        f"{missing.name} does not exist; the first start creates it, with 12 partitions",
    )
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    assert missing.name not in admin.list_topics(timeout=10).topics


@pytest.mark.only_long
def test_options_that_may_not_be_read_are_a_warning(process: Broker, topic: Topic, tmp_path: Path) -> None:
    with without(process, ResourceType.TOPIC, AclOperation.DESCRIBE_CONFIGS):
        wait_for(lambda: "topic options" in diagnose_kafka(topic, tmp_path).warnings())
        found = diagnose_kafka(topic, tmp_path)

    assert found.status == 0
    assert found.warnings()["topic options"] == (
        f"this user may not read the options of {topic.name}, so they are not checked: grant DescribeConfigs on it, or "
        f"compare them yourself {SEE}"
    )
