"""The settings of the store: a ClickHouse server with its user and certificates, or the limits of embedded chDB."""

from collections.abc import Iterator
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from engine.config.settings_group import SettingsGroup
from engine.config.urls import is_http_url

_PLAIN_PORT, _TLS_PORT = 8123, 8443  # ClickHouse's own defaults


class StoreSettings(SettingsGroup):
    """ClickHouse."""

    url: SecretStr | None = Field(
        default=None,
        description="http(s)://host:port of a ClickHouse server; none: embedded chDB in data_dir.",
    )
    username: str | None = Field(
        default=None, min_length=1, description="The user on the ClickHouse server; none: the one in store.url."
    )
    password: SecretStr | None = Field(default=None, description="The user's password, with any characters.")
    ca_location: str | None = Field(
        default=None, min_length=1, description="The file of CA certificates; none: those of the system."
    )
    certificate_location: str | None = Field(
        default=None,
        min_length=1,
        description="The file of a client certificate. Without a password, it also authenticates the user.",
    )
    key_location: str | None = Field(
        default=None,
        min_length=1,
        description="The file of the client certificate's private key; none: it is in the certificate's file.",
    )
    database: str = Field(
        default="meterport",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="The database; it is created if it is missing.",
    )
    migrate: Literal["start", "wait"] = Field(
        default="start",
        description="start: each process migrates the schema when it starts; wait: only `meterport migrate` does.",
    )
    handles: int = Field(default=6, ge=3, le=64, description="The largest number of connections (chDB handles).")
    timeout_seconds: int = Field(
        default=60, ge=1, description="How long one statement may take on a ClickHouse server."
    )
    memory_bytes: int | None = Field(
        default=None,
        ge=128 << 20,
        description="The memory limit of embedded chDB. None: half of the memory that this process may use.",
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        text = url.get_secret_value()
        _, _, after_host = text.partition("//")[2].partition("/")
        if "@" in after_host or (not is_http_url(text) and "@" in text):
            raise ValueError("is not a URL: write the user and the password in store.username and store.password")
        if not is_http_url(text):
            raise ValueError("must be http(s)://host:port")
        parts = urlsplit(text)
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise ValueError("must end after the port: the database is in store.database")
        return url

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.url is None:
            for name in ("username", "password", *_FILES):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is set, but url is not")
            return self
        parts = urlsplit(self.url.get_secret_value())
        if self.username is not None and parts.username is not None:
            raise ValueError("username is set, but url names a user, too: set only one of them")
        if self.password is not None and parts.password is not None:
            raise ValueError("password is set, but url contains a password, too: set only one of them")
        if self.key_location is not None and self.certificate_location is None:
            raise ValueError("key_location is set, but certificate_location is not")
        for name in _FILES:
            if parts.scheme != "https" and getattr(self, name) is not None:
                raise ValueError(f"{name} is set, but url does not begin with https://")
        return self

    @property
    def address(self) -> tuple[str, str, int]:
        """The scheme, the host and the port of the ClickHouse server. Call it only if `url` is set."""
        assert self.url is not None  # noqa: S101 - every caller has checked it
        parts = urlsplit(self.url.get_secret_value())
        return parts.scheme, parts.hostname or "", parts.port or (_TLS_PORT if parts.scheme == "https" else _PLAIN_PORT)

    @property
    def credentials(self) -> tuple[str | None, str]:
        """The user and the password, which is empty if there is none. Call it only if `url` is set."""
        assert self.url is not None  # noqa: S101 - every caller has checked it
        parts = urlsplit(self.url.get_secret_value())
        username = self.username if parts.username is None else unquote(parts.username)
        password = unquote(parts.password or "") if self.password is None else self.password.get_secret_value()
        return username, password

    @property
    def secrets(self) -> Iterator[str]:
        """The texts that no line may show."""
        if self.password is not None:
            yield self.password.get_secret_value()
        if self.url is not None:
            text = self.url.get_secret_value()
            password = urlsplit(text).password or ""
            yield from (password, unquote(password))
            if "@" in text:
                yield text


_FILES = ("ca_location", "certificate_location", "key_location")
