"""Settings of Kafka: the options of librdkafka, and what is refused."""

import pytest

from engine.config.kafka_settings import OWN_KAFKA_OPTIONS
from engine.config.loading import load_settings
from tests.engine.config.settings.sample_settings import PASSWORD, refusal


def test_options_of_librdkafka_are_one_variable_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERPORT_KAFKA__BROKERS", "one:9092,two:9092")
    monkeypatch.setenv("METERPORT_KAFKA__OPTIONS", '{"client.rack": "eu-1a", "ssl.key.pem": "a key"}')

    kafka = load_settings().kafka

    assert (kafka.brokers, kafka.topic, kafka.group, kafka.partitions) == (
        "one:9092,two:9092", "om_default_events", "meterport", 12,
    )  # fmt: skip
    assert {name: value.get_secret_value() for name, value in kafka.options.items()} == {
        "client.rack": "eu-1a",
        "ssl.key.pem": "a key",
    }


def test_without_brokers_there_is_no_kafka() -> None:
    assert load_settings().kafka.brokers is None


@pytest.mark.parametrize("name", sorted(OWN_KAFKA_OPTIONS))
def test_an_option_that_would_break_exactly_once_is_refused(name: str) -> None:
    refused = refusal(kafka={"options": {"client.rack": "eu-1a", name: PASSWORD}})

    assert refused == f"kafka.options: {name} is set by Meterport: with another value usage would not be exact"


KAFKA = {
    "options that are no object": (
        {"options": ["acks"]},
        "kafka.options: Input should be a valid dictionary",
    ),
    "dead letters among the events": (
        {"topic": "usage", "dead_letter_topic": "usage"},
        "kafka: dead_letter_topic must not be the topic of events",
    ),
    "SASL without a mechanism": (
        {"security_protocol": "SASL_SSL", "sasl_username": "meterport"},
        "kafka: sasl_mechanism and security_protocol SASL_SSL or SASL_PLAINTEXT must be set together",
    ),
    "a mechanism that would not be used": (
        {"sasl_mechanism": "PLAIN", "sasl_password": PASSWORD},
        "kafka: sasl_mechanism and security_protocol SASL_SSL or SASL_PLAINTEXT must be set together",
    ),
    "a CA that would not be used": (
        {"ssl_ca_location": "ca.crt"},
        "kafka: ssl_ca_location is set, but security_protocol is PLAINTEXT: set SSL or SASL_SSL",
    ),
    "a private key that would not be used": (
        {"ssl_key_location": "tls.key", "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"},
        "kafka: ssl_key_location is set, but security_protocol is SASL_PLAINTEXT: set SSL or SASL_SSL",
    ),
    "a password that would not be used": (
        {"sasl_password": PASSWORD, "security_protocol": "SSL"},
        "kafka: sasl_password is set, but security_protocol is SSL: set SASL_SSL or SASL_PLAINTEXT",
    ),
    "a topic that is no name": (
        {"topic": "a topic"},
        "kafka.topic: String should match pattern '^[A-Za-z0-9._-]{1,249}$'",
    ),
    "a group protocol that is none": (
        {"group_protocol": "newest"},
        "kafka.group_protocol: String should match pattern '^(auto|consumer|classic)$'",
    ),
    "an unknown setting": ({"broker": "one:9092"}, "kafka.broker: unknown setting"),
}


@pytest.mark.parametrize(("given", "message"), KAFKA.values(), ids=KAFKA)
def test_wrong_settings_of_kafka_are_refused_by_name(given: dict[str, object], message: str) -> None:
    assert refusal(kafka={"brokers": "one:9092", **given}) == message


def test_a_mechanism_may_be_given_as_an_option() -> None:
    options = {"sasl.mechanism": "PLAIN"}

    assert load_settings(overrides={"kafka": {"security_protocol": "SASL_SSL", "options": options}}).kafka.options


def test_the_protocol_may_be_given_as_an_option() -> None:
    given = {"ssl_ca_location": "ca.crt", "options": {"security.protocol": "ssl"}}

    assert load_settings(overrides={"kafka": given}).kafka.ssl_ca_location == "ca.crt"


def test_options_that_are_no_json_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERPORT_KAFKA__OPTIONS", "client.rack=eu-1a")

    assert refusal() == 'METERPORT_KAFKA__OPTIONS: must be a JSON object such as {"a": "b"}'
