"""A broker that requires TLS and a password (SASL_SSL with SCRAM): events pass, and refusals are reported.

Java and Maven are needed, as for all brokers that tests start themselves.
"""

import pytest
from pydantic import SecretStr

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from tests.harness.secured_broker import PASSWORD, secured
from tests.harness.topics import WAIT_SECONDS, wait_for

__all__ = ["secured"]  # a fixture of another file

EVENT = b'{"specversion":"1.0","id":"1","source":"tests","type":"prompt","subject":"acme"}'


def test_events_go_through_a_broker_that_wants_tls_and_a_password(secured: KafkaSettings) -> None:
    patient = secured.model_copy(update={"produce_seconds": WAIT_SECONDS})
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
    secured: KafkaSettings, caplog: pytest.LogCaptureFixture, wrong: dict[str, SecretStr | None], told: tuple[str, ...]
) -> None:
    producer = KafkaProducer(secured.model_copy(update=wrong))

    with pytest.raises(LogUnavailable, match="Kafka: looking for topic om_default_events"):
        producer.append([EVENT], arrived_ms=1).result(WAIT_SECONDS)

    wait_for(lambda: any(all(text in line for text in ("kafka_client_error", *told)) for line in caplog.messages))
    assert PASSWORD not in caplog.text
    producer.close()
