"""`meterport doctor` on a broker that requires TLS and a password: it is accepted, or says what is not."""

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from engine.config.kafka_settings import KafkaSettings
from ingest.kafka.client import client_options
from tests.doctor.runs import Diagnosis, diagnose
from tests.harness.secured_broker import PASSWORD, secured

__all__ = ["secured"]  # a fixture of another file

pytestmark = pytest.mark.only_long  # such a broker starts for long, and tests/ingest/kafka/test_tls.py has one


def run(secured: KafkaSettings, directory: Path, **changed: str) -> Diagnosis:
    given = secured.model_dump(exclude_defaults=True, include={"brokers", "security_protocol", "sasl_mechanism"})
    given |= {"sasl_username": secured.sasl_username, "sasl_password": PASSWORD}
    given |= {"ssl_ca_location": secured.ssl_ca_location} | changed
    variables = {f"METERPORT_KAFKA__{name.upper()}": value for name, value in given.items() if value}
    return diagnose({"METERPORT_DATA_DIR": str(directory), **variables})


def test_a_user_and_a_certificate_that_are_right_are_accepted(secured: KafkaSettings, tmp_path: Path) -> None:
    found = run(secured, tmp_path)

    assert (found.status, found.faults()) == (0, {})


def test_a_cluster_that_has_never_had_a_group_is_not_given_a_topic_of_offsets(
    secured: KafkaSettings, tmp_path: Path
) -> None:
    found = run(secured, tmp_path)

    assert found.warnings() == {
        "kafka group": "the cluster has no groups yet, and is therefore not asked whether this user may read as "
        "meterport"
    }
    assert AdminClient(client_options(secured, {})).list_topics(timeout=10).topics == {}


@pytest.mark.parametrize("wrong", [{"sasl_password": "wrong"}, {"sasl_username": "nobody"}], ids=["password", "user"])
def test_a_user_who_is_not_accepted_is_named(secured: KafkaSettings, tmp_path: Path, wrong: dict[str, str]) -> None:
    found = run(secured, tmp_path, **wrong)

    assert (found.status, [*found.faults()]) == (1, ["kafka addresses"])
    assert found.faults()["kafka addresses"].startswith(
        f"kafka.sasl_username, kafka.sasl_password: {secured.brokers} does not accept them: "
    )
    assert PASSWORD not in str(found)


def test_a_certificate_of_an_unknown_authority_is_named(secured: KafkaSettings, tmp_path: Path) -> None:
    found = run(secured, tmp_path, ssl_ca_location="")

    assert found.faults()["kafka addresses"].startswith(
        "kafka.ssl_ca_location: the certificate of 127.0.0.1 is signed by an unknown CA ("
    )


def test_a_file_of_authorities_that_is_missing_is_named(secured: KafkaSettings, tmp_path: Path) -> None:
    found = run(secured, tmp_path, ssl_ca_location="missing.pem")

    assert "ssl.ca.location" in found.faults()["kafka addresses"]
