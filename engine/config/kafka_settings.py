"""The settings of Kafka: brokers, topics, the consumer group, and what is passed through to librdkafka."""

from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from engine.config.files import (
    shown_name,
)
from engine.config.group import Group


class KafkaSettings(Group):
    """The event log in production: a topic of an Apache Kafka cluster, or of anything that speaks its protocol."""

    brokers: str | None = Field(
        default=None,
        min_length=1,
        description="host:port,host:port of brokers to ask first; none: the log is SQLite, in data_dir.",
    )
    topic: str = Field(
        default="om_default_events",
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="Topic of events, created if missing.",
    )
    partitions: int = Field(default=12, ge=1, le=4096, description="Partitions of a topic that is created.")
    replication_factor: int = Field(
        default=-1, ge=-1, le=32, description="Replicas of a topic that is created; -1: as the brokers say."
    )
    group: str = Field(default="meterport", min_length=1, max_length=249, description="Consumer group of ingest.")
    group_protocol: str = Field(
        default="auto",
        pattern=r"^(auto|consumer|classic)$",
        description="consumer (KIP-848), classic, or auto: consumer where the brokers offer it.",
    )
    dead_letter_topic: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="Topic that is sent every dead letter too, created if missing; none: they are in the store alone.",
    )
    security_protocol: str = Field(
        default="PLAINTEXT",
        pattern=r"^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$",
        description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    )
    sasl_mechanism: str | None = Field(
        default=None,
        pattern=r"^(PLAIN|SCRAM-SHA-256|SCRAM-SHA-512|OAUTHBEARER|GSSAPI)$",
        description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI.",
    )
    sasl_username: str | None = Field(default=None, description="User name for SASL.")
    sasl_password: SecretStr | None = Field(default=None, description="Password for SASL.")
    ssl_ca_location: str | None = Field(default=None, description="File of CA certificates; none: the system's.")
    ssl_certificate_location: str | None = Field(default=None, description="File of the client's certificate.")
    ssl_key_location: str | None = Field(default=None, description="File of the client's private key.")
    ssl_key_password: SecretStr | None = Field(default=None, description="Password of the client's private key.")
    trust_offsets: bool = Field(
        default=False,
        description="Begin at the group's committed offsets even where the store lacks what comes before them.",
    )
    produce_seconds: float = Field(
        default=15, ge=1, le=300, description="How long a batch over HTTP waits for the brokers before it gets 503."
    )
    options: dict[str, SecretStr] = Field(
        default_factory=dict, description="Further options of librdkafka, by their names there; they win."
    )

    @field_validator("options")
    @classmethod
    def _keeps_exactly_once(cls, options: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in sorted(options):
            if shown_name(name) != name:
                raise ValueError(f"{shown_name(name)} is no name of an option; is a space missing after the colon?")
            if name in OWN_KAFKA_OPTIONS:
                raise ValueError(f"{name} is set by Meterport: usage is not exact with another value")
        return options

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.dead_letter_topic == self.topic:
            raise ValueError("dead_letter_topic must be another topic than that of events")
        mechanism = self.sasl_mechanism or self.options.keys() & {"sasl.mechanism", "sasl.mechanisms"}
        if self.security_protocol.startswith("SASL") != bool(mechanism):
            raise ValueError("sasl_mechanism and a security_protocol of SASL_SSL or SASL_PLAINTEXT need each other")
        return self


OWN_KAFKA_OPTIONS = frozenset(
    {
        "bootstrap.servers", "metadata.broker.list", "group.id", "group.protocol", "enable.auto.commit",
        "auto.commit.enable", "enable.auto.offset.store", "auto.offset.reset", "isolation.level",
        "enable.partition.eof", "partition.assignment.strategy", "acks", "request.required.acks",
        "enable.idempotence", "enable.gapless.guarantee", "transactional.id", "partitioner",
    }
)  # fmt: skip
