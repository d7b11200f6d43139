"""A broker that requires TLS and a password (SASL_SSL with SCRAM): events pass, and refusals are reported.

Java and Maven are needed, as for all brokers that tests start themselves.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (  # mypy does not accept the import from `admin`
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from tests.harness.broker import Broker
from tests.harness.services import available_or_skip
from tests.harness.topics import WAIT_SECONDS, wait_for

USER, PASSWORD, STORE_PASSWORD = "meterport", "sesame-open", "of-the-key-store"
EVENT = b'{"specversion":"1.0","id":"1","source":"tests","type":"prompt","subject":"acme"}'
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """Return settings that the broker accepts. Its certificate is self-signed."""
    directory = tmp_path_factory.mktemp("kafka")
    keys, certificate = directory / "keys.p12", directory / "ca.pem"
    config = {
        "ssl.keystore.location": str(keys),
        "ssl.keystore.password": STORE_PASSWORD,
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": SCRAM,
    }
    broker = available_or_skip(lambda: Broker(directory, config, secured="SASL_SSL"))
    _keytool(keys, "-genkeypair", "-keyalg", "EC", "-dname", "CN=broker", "-ext", "SAN=ip:127.0.0.1")
    _keytool(keys, "-exportcert", "-rfc", "-file", str(certificate))
    broker.start()
    try:
        _make_user(broker.bootstrap)
        yield KafkaSettings(
            brokers=broker.address("SASL_SSL"),
            partitions=1,
            produce_seconds=2,
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=USER,
            sasl_password=SecretStr(PASSWORD),
            ssl_ca_location=str(certificate),
        )
    finally:
        broker.kill()


def _make_user(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    admin.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, scram, PASSWORD.encode())])[USER].result(30)


def _keytool(keys: Path, *command: str) -> None:
    given = ["-alias", "broker", "-keystore", str(keys), "-storetype", "PKCS12", "-storepass", STORE_PASSWORD]
    subprocess.run(["keytool", *command, *given], check=True, capture_output=True)


def test_events_go_through_a_broker_that_wants_tls_and_a_password(settings: KafkaSettings) -> None:
    patient = settings.model_copy(update={"produce_seconds": WAIT_SECONDS})
    producer, log = KafkaProducer(patient), KafkaLog(patient)

    producer.append([EVENT], arrived_ms=1).result(WAIT_SECONDS)

    [record] = log.read(10, 1 << 20, WAIT_SECONDS)
    assert (record.value, record.partition, record.offset) == (EVENT, 0, 0)
    log.close()
    producer.close()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sasl_password": SecretStr("wrong")}, ("code=_AUTHENTICATION", "due to invalid credentials")),
        ({"ssl_ca_location": None}, ("code=_SSL", "certificate verify failed", "ssl.ca.location")),
    ],
    ids=["a wrong password", "a certificate nobody we know has signed"],
)
def test_what_the_broker_or_we_object_to_is_logged(
    settings: KafkaSettings, caplog: pytest.LogCaptureFixture, wrong: dict[str, SecretStr | None], told: tuple[str, ...]
) -> None:
    producer = KafkaProducer(settings.model_copy(update=wrong))

    with pytest.raises(LogUnavailable, match="Kafka: looking for topic om_default_events"):
        producer.append([EVENT], arrived_ms=1).result(WAIT_SECONDS)

    wait_for(lambda: any(all(text in line for text in ("kafka_client_error", *told)) for line in caplog.messages))
    assert PASSWORD not in caplog.text
    producer.close()
