"""The OTEL_ variables that OpenTelemetry's SDK reads: which of them turn traces off, and which it would misunderstand.

The SDK replaces a value that it does not know by its default and goes on. Here it is an error, as it is of a setting.
Source: OpenTelemetry's specification of environment variables.
"""

import os
from urllib.parse import urlsplit

from engine.errors import ConfigurationError

_RATIO_SAMPLERS = frozenset({"traceidratio", "parentbased_traceidratio"})
_SAMPLERS = _RATIO_SAMPLERS | {"always_on", "always_off", "parentbased_always_on", "parentbased_always_off"}
_DEFAULT_SAMPLER = "parentbased_always_on"


def is_turned_off() -> bool:
    """Return whether a variable turns traces off."""
    return _variable("OTEL_SDK_DISABLED") == "true" or _variable("OTEL_TRACES_EXPORTER") == "none"


def samples_by_parents() -> bool:
    """Return whether a span whose parent is recorded is recorded too."""
    return (_variable("OTEL_TRACES_SAMPLER") or _DEFAULT_SAMPLER).startswith("parentbased_")


def check_variables() -> None:
    """Check what traces need. Raises: ConfigurationError: it names the variable."""
    if _variable("OTEL_TRACES_EXPORTER") not in {"", "otlp"}:
        raise ConfigurationError("OTEL_TRACES_EXPORTER: must be otlp or none")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if _variable(name) not in {"", "http/protobuf"}:
            raise ConfigurationError(f"{name}: must be http/protobuf; collectors take it on port 4318")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        url = os.environ.get(name, "").strip()
        if url and not _is_http(url):
            raise ConfigurationError(f"{name}: must be a URL such as http://collector:4318")
    sampler = _variable("OTEL_TRACES_SAMPLER")
    if sampler and sampler not in _SAMPLERS:
        raise ConfigurationError(f"OTEL_TRACES_SAMPLER: must be one of {', '.join(sorted(_SAMPLERS))}")
    if sampler in _RATIO_SAMPLERS and not _is_share(_variable("OTEL_TRACES_SAMPLER_ARG") or "1"):
        raise ConfigurationError("OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1")


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip().lower()


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
