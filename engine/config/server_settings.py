"""The settings of the HTTP server and of its connections."""

import re

from pydantic import Field, field_validator

from engine.config.settings_group import SettingsGroup

# As browsers write an origin (the URL standard, "origin serialization"): in lower case, without a path, and without the
# port that the scheme has anyway. Applications on phones have schemes of their own.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_USUAL_PORTS = {"http": ":80", "https": ":443"}


class ServerSettings(SettingsGroup):
    """The HTTP server."""

    host: str = Field(
        default="127.0.0.1", description="The address to listen on; any other than loopback needs an API key."
    )
    port: int = Field(default=8888, ge=0, le=65535, description="The port to listen on; 0: any free port.")
    telemetry_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="A second port that serves /metrics, /livez and /readyz without a key.",
    )
    telemetry_host: str = Field(default="127.0.0.1", description="The address of the telemetry port.")
    body_limit_bytes: int = Field(default=10 << 20, ge=1024, description="A larger request body is refused with 413.")
    cors_origins: list[str] = Field(
        default_factory=lambda: ["*"], description="Origins whose pages may call the portal; `*`: any origin."
    )
    unready_seconds: float = Field(
        default=20,
        ge=1,
        le=3600,
        description="How long the store or the brokers may fail to respond before /readyz answers 503.",
    )
    wrong_keys_per_minute: int | None = Field(
        default=120,
        ge=1,
        description="Requests with a wrong API key from one address in a minute; more get 429. None: no limit.",
    )
    drain_seconds: float = Field(
        default=0,
        ge=0,
        le=600,
        description="How long SIGTERM keeps the ports open while /readyz answers 503, for load balancers to notice.",
    )
    shutdown_seconds: int = Field(default=20, ge=1, description="How long SIGTERM waits for open requests.")
    max_connections: int | None = Field(
        default=None,
        ge=1,
        description="Open connections; more get 503. None: as many as the limit on open files allows.",
    )
    head_limit_bytes: int = Field(
        default=64 << 10, ge=1024, description="A larger head of a request is refused with 431."
    )
    max_header_fields: int = Field(
        default=100, ge=10, description="A request with more header fields is refused with 431."
    )
    url_limit_bytes: int = Field(default=32 << 10, ge=256, le=65_535, description="A longer URL is refused with 414.")
    first_byte_seconds: float = Field(
        default=10, gt=0, description="A new connection that sends nothing for this long is closed."
    )
    head_seconds: float = Field(
        default=10, gt=0, description="How long the head of a request may take; after that 408."
    )
    body_seconds: float = Field(default=10, gt=0, description="How long a request body may pause; after that 408.")
    answer_seconds: float = Field(
        default=30, gt=0, description="A connection whose client reads nothing of its response for this long is closed."
    )
    keep_alive_seconds: float = Field(
        default=75,
        gt=0,
        description="How long an idle connection is kept open; it must be longer than that of a proxy in front.",
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        """Refuse a text that no browser sends as an origin: it would silently allow nothing."""
        for origin in origins:
            written = _ORIGIN.fullmatch(origin) and not origin.endswith(_USUAL_PORTS.get(origin.partition(":")[0], "/"))
            if origin != "*" and not written:
                raise ValueError(
                    f"{origin!r} is not an origin as browsers send it, such as https://app.example.com or "
                    "http://localhost:3000 (lower case, no path, no slash at the end); * means any origin"
                )
        return origins
