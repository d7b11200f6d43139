"""Every setting: its type, its default and what it means.

`__` in the name of a variable separates group and setting: METERPORT_SERVER__PORT. Where the values come from is
engine/config/loading.py's; meters in the settings are checked by whoever creates them (engine/meters/definition.py).
"""

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    SettingsConfigDict,
)

from engine.config.files import (
    ENV_PREFIX,
)
from engine.config.group import Group
from engine.config.kafka_settings import KafkaSettings
from engine.config.key_strength import weakness
from engine.instants import parse_instant
from engine.texts import is_utf8, printable

_FRAME_ANCESTOR = re.compile(
    r"'self'|https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?"
)
_CREDENTIAL = re.compile(r"[!-~]+")
LONGEST_TOKEN_SECONDS = 3650 * 86_400


class ServerSettings(Group):
    """The HTTP server."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; other than loopback needs an API key.")
    port: int = Field(default=8888, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    telemetry_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="A second port that serves /metrics, /livez and /readyz without a key.",
    )
    telemetry_host: str = Field(default="127.0.0.1", description="Address of the telemetry port.")
    body_limit_bytes: int = Field(default=10 << 20, ge=1024, description="A larger request body is refused with 413.")
    cors_origins: list[str] = Field(
        default_factory=lambda: ["*"], description="Origins whose pages may call the portal; `*` is any."
    )
    unready_seconds: float = Field(
        default=20,
        ge=1,
        le=3600,
        description="How long the store or the brokers may be silent before /readyz answers 503.",
    )
    wrong_keys_per_minute: int | None = Field(
        default=120,
        ge=1,
        description="Requests with a wrong API key an address may make in a minute; more get 429. None: any.",
    )
    shutdown_seconds: int = Field(default=20, ge=1, description="How long SIGTERM waits for open requests.")
    max_connections: int | None = Field(
        default=None, ge=1, description="Connections at a time; more get 503. None: as the limit on open files allows."
    )
    head_limit_bytes: int = Field(default=64 << 10, ge=1024, description="A larger head of a request is refused, 431.")
    max_header_fields: int = Field(default=100, ge=10, description="More header fields are refused with 431.")
    url_limit_bytes: int = Field(default=32 << 10, ge=256, le=65_535, description="A longer URL is refused with 414.")
    first_byte_seconds: float = Field(
        default=10, gt=0, description="A new connection that sends nothing for so long is closed."
    )
    head_seconds: float = Field(default=10, gt=0, description="How long the head of a request may take; then 408.")
    body_seconds: float = Field(default=10, gt=0, description="How long a body may pause; then 408.")
    answer_seconds: float = Field(
        default=30, gt=0, description="A client that reads nothing of its answer for so long is closed."
    )
    keep_alive_seconds: float = Field(
        default=75, gt=0, description="How long a connection is kept after an answer: longer than proxies keep theirs."
    )


class StoreSettings(Group):
    """ClickHouse."""

    url: SecretStr | None = Field(
        default=None,
        description="http(s)://user:password@host:port of a ClickHouse server; none: chDB in the data directory.",
    )
    database: str = Field(
        default="meterport", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Database, created if missing."
    )
    handles: int = Field(default=6, ge=3, le=64, description="Connections (chDB handles) at most.")
    timeout_seconds: int = Field(default=60, ge=1, description="How long one statement may take on a server.")
    memory_bytes: int | None = Field(
        default=None,
        ge=128 << 20,
        description="Memory of the embedded engine at most. None: half of what this process may use.",
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not is_http_url(url.get_secret_value()):
            raise ValueError("must be http(s)://user:password@host:port")
        if url is not None and "@" in re.sub(r"\A[^/]*//[^/?#]*", "", url.get_secret_value()):
            raise ValueError("has an @ behind its host: write / ? # and @ of a password as %2F %3F %23 and %40")
        return url


class LogSettings(Group):
    """The event log in front of the store."""

    max_bytes: int = Field(default=4 << 30, ge=1 << 20, description="Unread events at most; more are refused with 503.")


class IngestSettings(Group):
    """From the log to the store."""

    batch_rows: int = Field(default=100_000, ge=1, le=1_000_000, description="Records in one block at most.")
    batch_bytes: int = Field(default=64 << 20, ge=1 << 16, description="Bytes of records in one block at most.")
    batch_months: int = Field(default=60, ge=1, description="Calendar months one block may span at most.")
    interval_seconds: float = Field(
        default=0.1,
        ge=0,
        description="Pause between two blocks of a log that is not behind; more: fewer, larger parts.",
    )
    duplicate_window_days: int = Field(default=35, ge=1, description="How long an event's (source, id) is remembered.")
    max_dead_letter_run: int = Field(
        default=1000,
        ge=1,
        description="Unreadable records in a row that hold their partition: an upstream fault is likelier.",
    )
    earliest_time: str = Field(default="1970-01-01T00:00:00Z", description="Events before it are refused.")
    future_seconds: int = Field(default=86_400, ge=0, description="Events later than now plus this are refused.")

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


class PortalSettings(Group):
    """Portal tokens, and the page they open."""

    token_keys: list[SecretStr] = Field(
        default_factory=list,
        description="Signing keys: the first signs, all verify. None: one is made and kept in the data directory.",
    )
    token_seconds: int = Field(default=86_400, ge=1, description="Life of a token that names no expiry.")
    max_token_seconds: int = Field(
        default=365 * 86_400,
        ge=1,
        le=LONGEST_TOKEN_SECONDS,
        description="Life of any token at most, also of those that were issued while it was longer.",
    )
    frame_ancestors: list[str] = Field(
        default_factory=list,
        description="Origins whose pages may show /portal in a frame, as https://app.example.com; none: nobody.",
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Requests one token may make in a minute; more are refused with 429. None: any."
    )
    max_rows: int = Field(default=100_000, ge=1, description="Rows of an answer to a token; more are refused with 400.")
    max_values: int = Field(default=10_000, ge=1, description="Values of a group-by key in one answer to a token.")

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
        """Refuse what would end the header's directive, or mean something else in it."""
        for origin in origins:
            if not _FRAME_ANCESTOR.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin, as https://app.example.com or https://*.example.com")
        return origins


class QuerySettings(Group):
    """How long a query may take, how much it may answer, and look-back limits of listings."""

    timeout_seconds: float = Field(default=30, ge=0.1, description="A query over HTTP that takes longer is 503.")
    memory_bytes: int | None = Field(
        default=None,
        ge=16 << 20,
        description="Memory of the store for one query at most; one that needs more is 503. None: a share of the "
        "embedded engine's memory; on a server as its own settings say.",
    )
    waiting: int = Field(
        default=32, ge=1, description="Requests of one tenant that may wait for the store; more are refused with 429."
    )
    events_days: int = Field(default=32, ge=1, description="GET /events looks back so far.")
    values_days: int = Field(default=90, ge=1, description="Group-by values may be asked from so long ago.")
    values_span_days: int = Field(default=30, ge=1, description="Group-by values may be asked over so long a span.")
    max_rows: int = Field(default=500_000, ge=1, description="Rows of an answer; one with more is refused with 400.")
    max_values: int = Field(
        default=100_000, ge=1, description="Values of a group-by key, and subjects, in one answer; the next is linked."
    )


class Settings(BaseSettings):
    """All settings of a process, frozen."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(default=Path("data"), description="Where the embedded store, its event log and keys live.")
    trust_data_dir: bool = Field(
        default=False,
        description="Use data_dir even if it is another user's, or others may write it: they can forge usage.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="Management API key. None: loopback only, and open there."
    )
    api_key_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="The SHA-256 of the key in hex, to keep the key itself out; a weak key is not seen.",
    )
    log_level: str = Field(
        default="info", pattern=r"^(debug|info|warning|error)$", description="debug, info, warning or error."
    )
    log_format: str = Field(default="text", pattern=r"^(text|json)$", description="text or json.")
    fault: str = Field(default="", description="For crash tests: `point:n` kills the process there the n-th time.")
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    kafka: KafkaSettings = KafkaSettings()
    ingest: IngestSettings = IngestSettings()
    portal: PortalSettings = PortalSettings()
    query: QuerySettings = QuerySettings()
    reserved_event_types: list[str] = Field(
        default_factory=list, description="Regular expressions; no meter may be created for an event type one matches."
    )
    meters: list[dict[str, Any]] = Field(
        default_factory=list, description="Meters created at start; one that exists must be equal."
    )

    @field_validator("data_dir", mode="before")
    @classmethod
    def _names_a_directory(cls, directory: Any) -> Any:
        if directory == "":
            raise ValueError("must not be empty")
        if not is_utf8(str(directory)):
            raise ValueError(f"{printable(str(directory))} is not UTF-8: the store takes no such path")
        return directory

    @field_validator("api_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not key.get_secret_value():
            raise ValueError("must not be empty")
        if key is not None and not _CREDENTIAL.fullmatch(key.get_secret_value()):
            raise ValueError("must be visible ASCII characters, without spaces: no request could carry another")
        return key

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
        """SHA-256 of the management key, or None when there is none."""
        if self.api_key is not None:
            return hashlib.sha256(self.api_key.get_secret_value().encode()).digest()
        return bytes.fromhex(self.api_key_sha256) if self.api_key_sha256 else None


def is_http_url(text: str) -> bool:
    """Whether a text is a URL with a scheme of HTTP, a host, and a port that is a number, if any."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> dict[str, Any]:
    """Return every setting by dotted name with its field; groups are walked, not returned."""
    names: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            names |= setting_names(kind, f"{prefix}{name}.")
        else:
            names[f"{prefix}{name}"] = field
    return names


def variable_name(setting: str) -> str:
    """Return the environment variable of a dotted setting name."""
    return ENV_PREFIX + setting.upper().replace(".", "__")
