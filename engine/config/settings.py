"""All settings: their types, defaults and descriptions.

`__` in the name of a variable separates the group from the setting: METERPORT_SERVER__PORT. engine/config/loading.py
reads the values. The meters in the settings are checked when they are created (engine/meters/definition.py).
"""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    SettingsConfigDict,
)

from engine.config.api_keys import (
    DEFAULT_NAME,
    ApiKey,
    ManagementKey,
    Scope,
    checked_credential,
    conflict_between,
    key_digest,
)
from engine.config.files import (
    ENV_PREFIX,
)
from engine.config.kafka_settings import KafkaSettings
from engine.config.key_strength import weakness
from engine.config.server_settings import ServerSettings
from engine.config.settings_group import SettingsGroup
from engine.config.store_settings import StoreSettings
from engine.instants import parse_instant
from engine.texts import is_utf8, printable

_FRAME_ANCESTOR = re.compile(
    r"'self'|https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?"
)
LONGEST_TOKEN_SECONDS = 3650 * 86_400


class LogSettings(SettingsGroup):
    """The event log in front of the store."""

    max_bytes: int = Field(
        default=4 << 30, ge=1 << 20, description="Bytes of events that are not stored yet; more are refused with 503."
    )


class IngestSettings(SettingsGroup):
    """Ingest, from the event log to the store."""

    batch_rows: int = Field(
        default=100_000, ge=1, le=1_000_000, description="The largest number of records in one block."
    )
    batch_bytes: int = Field(
        default=64 << 20, ge=1 << 16, description="The largest size in bytes of the records in one block."
    )
    batch_months: int = Field(default=60, ge=1, description="The largest number of calendar months in one block.")
    interval_seconds: float = Field(
        default=0.1,
        ge=0,
        description="The pause between two blocks when ingest is not behind; a longer one makes fewer, larger parts.",
    )
    duplicate_window_days: int = Field(default=35, ge=1, description="How long an event's (source, id) is remembered.")
    max_dead_letter_run: int = Field(
        default=1000,
        ge=1,
        description="After this many invalid records in a row, their partition is not read further: the producer is "
        "probably faulty.",
    )
    earliest_time: str = Field(default="1970-01-01T00:00:00Z", description="Earlier events are refused.")
    future_seconds: int = Field(default=86_400, ge=0, description="Events further than this in the future are refused.")

    @field_validator("earliest_time")
    @classmethod
    def _instant(cls, text: str) -> str:
        try:
            earliest = parse_instant(text)
        except ValueError:
            earliest = None
        if earliest is None or earliest.nanos < 0:
            raise ValueError("must be an RFC 3339 timestamp with an offset, from 1970 on")
        return earliest.text


class PortalSettings(SettingsGroup):
    """Portal tokens, and the portal page for which they are used."""

    token_keys: list[SecretStr] = Field(
        default_factory=list,
        description="Signing keys: the first signs, all verify. None: a key is created and kept in data_dir.",
    )
    token_seconds: int = Field(
        default=86_400, ge=1, description="The lifetime of a token that is created without an expiry."
    )
    max_token_seconds: int = Field(
        default=365 * 86_400,
        ge=1,
        le=LONGEST_TOKEN_SECONDS,
        description="The longest lifetime of a token; it also limits tokens that were issued before.",
    )
    frame_ancestors: list[str] = Field(
        default_factory=list,
        description="Origins whose pages may show /portal in a frame, such as https://app.example.com; none: no page.",
    )
    requests_per_minute: int | None = Field(
        default=None,
        ge=1,
        description="Requests with one token in a minute; more are refused with 429. None: no limit.",
    )
    max_rows: int = Field(default=100_000, ge=1, description="Rows in an answer to a token; more are refused with 400.")
    max_values: int = Field(
        default=10_000, ge=1, description="Values of a group-by key in one answer to a token; the next page is linked."
    )

    @field_validator("token_keys")
    @classmethod
    def _strong_enough(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for key in keys:
            weak = weakness(key.get_secret_value())
            if weak:
                raise ValueError(f"a key {weak}")
        return keys

    @field_validator("frame_ancestors")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        """Refuse a text that would end the directive in the header, or would have another meaning there."""
        for origin in origins:
            if not _FRAME_ANCESTOR.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is not an origin such as https://app.example.com or https://*.example.com"
                )
        return origins


class QuerySettings(SettingsGroup):
    """Limits of queries: time, memory, size of the answer, and how far back listings go."""

    timeout_seconds: float = Field(
        default=30, ge=0.1, description="A query over HTTP that takes longer is answered with 503."
    )
    memory_bytes: int | None = Field(
        default=None,
        ge=16 << 20,
        description="The memory of the store that one query may use; a query that needs more is answered with 503. "
        "None: a share of embedded chDB's memory; on a ClickHouse server its own settings apply.",
    )
    waiting: int = Field(
        default=32,
        ge=1,
        description="Requests of one subject, or of the management API, that may wait for the store. More get 429, or "
        "503 from the management API.",
    )
    events_days: int = Field(default=32, ge=1, description="How many days back GET /events lists events.")
    values_days: int = Field(default=90, ge=1, description="How many days back a query for group-by values may start.")
    values_span_days: int = Field(default=30, ge=1, description="How many days a query for group-by values may span.")
    max_rows: int = Field(default=500_000, ge=1, description="Rows in an answer; more are refused with 400.")
    max_values: int = Field(
        default=100_000,
        ge=1,
        description="Values of a group-by key, or subjects, in one answer; the next page is linked.",
    )


class Settings(BaseSettings):
    """All settings of a process. They cannot be changed after they were read."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(
        default=Path("data"),
        description="The directory of the embedded store, the SQLite event log and the signing key.",
    )
    trust_data_dir: bool = Field(
        default=False,
        description="Use data_dir even if other users own it or can write to it: they can forge usage.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="The management API key, for everything. Without any key, only loopback is served."
    )
    api_key_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="The SHA-256 of the key in hex, instead of the key itself; a weak key is not recognised.",
    )
    api_keys: list[ApiKey] = Field(
        default_factory=list,
        description="Further management keys, each with a name, the key or its key_sha256, and scopes: "
        f"{', '.join(Scope)}.",
    )
    log_level: str = Field(
        default="info", pattern=r"^(debug|info|warning|error)$", description="debug, info, warning or error."
    )
    log_format: str = Field(default="text", pattern=r"^(text|json)$", description="text or json.")
    tracing: bool = Field(
        default=False,
        description="Send traces over OTLP/HTTP, as the OTEL_* variables say. Needs meterport[otel].",
    )
    fault: str = Field(
        default="",
        description="For crash tests: `point:n` kills the process when it reaches that point for the n-th time.",
    )
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    kafka: KafkaSettings = KafkaSettings()
    ingest: IngestSettings = IngestSettings()
    portal: PortalSettings = PortalSettings()
    query: QuerySettings = QuerySettings()
    reserved_event_types: list[str] = Field(
        default_factory=list,
        description="Regular expressions; no meter can be created for an event type that one of them matches.",
    )
    meters: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Meters that are created at start; one that exists already must have the same definition.",
    )

    @field_validator("data_dir", mode="before")
    @classmethod
    def _names_a_directory(cls, directory: Any) -> Any:
        if directory == "":
            raise ValueError("must not be empty")
        if not is_utf8(str(directory)):
            raise ValueError(f"{printable(str(directory))} is not UTF-8: the store does not accept such a path")
        return directory

    @field_validator("api_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        return checked_credential(key)

    @field_validator("api_keys")
    @classmethod
    def _all_differ(cls, keys: list[ApiKey]) -> list[ApiKey]:
        conflict = conflict_between([key.accepted for key in keys])
        if conflict:
            raise ValueError(conflict)
        return keys

    @field_validator("reserved_event_types")
    @classmethod
    def _expressions(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return patterns

    @property
    def api_key_digest(self) -> bytes | None:
        """The SHA-256 of the key `api_key`, or None if there is no such key."""
        if self.api_key is not None:
            return key_digest(self.api_key)
        return bytes.fromhex(self.api_key_sha256) if self.api_key_sha256 else None

    @property
    def management_keys(self) -> list[ManagementKey]:
        """All keys that the management API accepts. The first is `api_key`, if it is set: it may do everything."""
        digest = self.api_key_digest
        first = [] if digest is None else [ManagementKey(DEFAULT_NAME, digest, frozenset({Scope.ADMIN}))]
        return [*first, *(key.accepted for key in self.api_keys)]


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> dict[str, Any]:
    """Return the field of every setting by dotted name. Groups are not returned, only the settings in them."""
    names: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, SettingsGroup):
            names |= setting_names(kind, f"{prefix}{name}.")
        else:
            names[f"{prefix}{name}"] = field
    return names


def variable_name(setting: str) -> str:
    """Return the name of the environment variable of a setting, given its dotted name."""
    return ENV_PREFIX + setting.upper().replace(".", "__")
