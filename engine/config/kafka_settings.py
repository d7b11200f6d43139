"""The settings of Kafka: brokers, topics, the consumer group, and the options that are passed on to librdkafka."""

from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from engine.config.redaction import shown_name
from engine.config.settings_group import SettingsGroup


class KafkaSettings(SettingsGroup):
    """The event log in production: a topic of an Apache Kafka cluster, or of brokers with the same protocol."""

    brokers: str | None = Field(
        default=None,
        min_length=1,
        description="host:port,host:port of the brokers to contact first; none: the event log is SQLite in data_dir.",
    )
    topic: str = Field(
        default="om_default_events",
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="The topic of events; it is created if it is missing.",
    )
    partitions: int = Field(
        default=12, ge=1, le=4096, description="The number of partitions of a topic that is created."
    )
    replication_factor: int = Field(
        default=-1,
        ge=-1,
        le=32,
        description="The number of replicas of a topic that is created; -1: the brokers' default.",
    )
    group: str = Field(default="meterport", min_length=1, max_length=249, description="The consumer group of ingest.")
    group_protocol: str = Field(
        default="auto",
        pattern=r"^(auto|consumer|classic)$",
        description="consumer (KIP-848), classic, or auto: consumer if the brokers support it.",
    )
    dead_letter_topic: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="A topic that also gets every dead letter, created if missing; none: only the store has them.",
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
    sasl_username: str | None = Field(default=None, description="The user name for SASL.")
    sasl_password: SecretStr | None = Field(default=None, description="The password for SASL.")
    ssl_ca_location: str | None = Field(
        default=None, description="The file of CA certificates; none: those of the system."
    )
    ssl_certificate_location: str | None = Field(default=None, description="The file of the client's certificate.")
    ssl_key_location: str | None = Field(default=None, description="The file of the client's private key.")
    ssl_key_password: SecretStr | None = Field(default=None, description="The password of the client's private key.")
    trust_offsets: bool = Field(
        default=False,
        description="Start at the group's committed offsets even if the store lacks events from before them.",
    )
    produce_seconds: float = Field(
        default=15,
        ge=1,
        le=300,
        description="How long events sent over HTTP wait for the brokers before the answer is 503.",
    )
    options: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="More options of librdkafka by their own names; they override the settings above.",
    )

    @field_validator("options")
    @classmethod
    def _keeps_exactly_once(cls, options: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in sorted(options):
            if shown_name(name) != name:
                raise ValueError(f"{shown_name(name)} is not an option; is a space missing after the colon?")
            if name in OWN_KAFKA_OPTIONS:
                raise ValueError(f"{name} is set by Meterport: with another value usage would not be exact")
        return options

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.dead_letter_topic == self.topic:
            raise ValueError("dead_letter_topic must not be the topic of events")
        mechanism = self.sasl_mechanism or self.options.keys() & {"sasl.mechanism", "sasl.mechanisms"}
        if self.security_protocol.startswith("SASL") != bool(mechanism):
            raise ValueError("sasl_mechanism and security_protocol SASL_SSL or SASL_PLAINTEXT must be set together")
        if "security.protocol" not in self.options:
            self._refuse_what_would_not_be_used()
        return self

    def _refuse_what_would_not_be_used(self) -> None:
        """Raises: ValueError: the connection would be without TLS or without a user, and a setting says otherwise."""
        protocol = self.security_protocol
        login = ("sasl_username", "sasl_password"), protocol.startswith("SASL"), "SASL_SSL or SASL_PLAINTEXT"
        tls = _TLS_SETTINGS, protocol.endswith("SSL"), "SSL or SASL_SSL"
        for names, used, needed in (login, tls):
            for name in names:
                if not used and getattr(self, name) is not None:
                    raise ValueError(f"{name} is set, but security_protocol is {protocol}: set {needed}")


_TLS_SETTINGS = ("ssl_ca_location", "ssl_certificate_location", "ssl_key_location", "ssl_key_password")
OWN_KAFKA_OPTIONS = frozenset(
    {
        "bootstrap.servers", "metadata.broker.list", "group.id", "group.protocol", "enable.auto.commit",
        "auto.commit.enable", "enable.auto.offset.store", "auto.offset.reset", "isolation.level",
        "enable.partition.eof", "partition.assignment.strategy", "acks", "request.required.acks",
        "enable.idempotence", "enable.gapless.guarantee", "transactional.id", "partitioner",
    }
)  # fmt: skip
