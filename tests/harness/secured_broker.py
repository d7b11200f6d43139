"""A broker that requires TLS and a password (SASL_SSL with SCRAM). A module that imports `secured` gets its own.

The certificate of the broker is self-signed.
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
from tests.harness.broker import Broker
from tests.harness.services import available_or_skip

USER, PASSWORD, STORE_PASSWORD = "meterport", "sesame-open", "of-the-key-store"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """Yield settings that the broker accepts."""
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
