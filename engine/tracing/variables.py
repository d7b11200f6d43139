"""The OTEL_ variables that OpenTelemetry's SDK reads: which of them turn traces off, and which it would misunderstand.

The SDK replaces a value that it does not know by its default and goes on. Here it is an error, as it is of a setting.
This module does not need OpenTelemetry: the SDK reads some variables while it is imported, so they are checked before.
Limits: a number is at most 2^31 - 1, as the specification says.
Source: OpenTelemetry's specification of environment variables and of the OTLP exporter.
"""

import os
import re
import ssl
from collections.abc import Iterator
from importlib.metadata import entry_points
from urllib.parse import unquote, urlsplit

from engine.errors import ConfigurationError

_OTLP = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")  # the first of the two that is set is used
_RATIO_SAMPLERS = frozenset({"traceidratio", "parentbased_traceidratio"})
_SAMPLERS = _RATIO_SAMPLERS | {"always_on", "always_off", "parentbased_always_on", "parentbased_always_off"}
_DEFAULT_SAMPLER = "parentbased_always_on"
_TRUTH, _COMPRESSIONS = frozenset({"true", "false"}), frozenset({"none", "gzip", "deflate"})

_CHOICES = {
    "OTEL_SDK_DISABLED": (_TRUTH, "must be true or false"),
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": (_TRUTH, "must be true or false"),
    "OTEL_TRACES_EXPORTER": ({"otlp"}, "must be otlp or none"),
    "OTEL_TRACES_SAMPLER": (_SAMPLERS, f"must be one of {', '.join(sorted(_SAMPLERS))}"),
    **{
        f"{prefix}PROTOCOL": ({"http/protobuf"}, "must be http/protobuf; collectors take it on port 4318")
        for prefix in _OTLP
    },
    **{f"{prefix}COMPRESSION": (_COMPRESSIONS, "must be gzip, deflate or none") for prefix in _OTLP},
}
_LEAST_NUMBERS = {
    "OTEL_BSP_MAX_QUEUE_SIZE": 1,
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 1,
    "OTEL_BSP_SCHEDULE_DELAY": 1,
    "OTEL_BSP_EXPORT_TIMEOUT": 0,
    **{f"{prefix}TIMEOUT": 0 for prefix in _OTLP},
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": 0,
    "OTEL_ATTRIBUTE_COUNT_LIMIT": 0,
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": 0,
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": 0,
    "OTEL_SPAN_EVENT_COUNT_LIMIT": 0,
    "OTEL_SPAN_LINK_COUNT_LIMIT": 0,
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": 0,
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": 0,
}
_MOST = 2**31 - 1
_NOT_READ = (  # each would change what is sent, and OpenTelemetry's command `opentelemetry-instrument` reads it
    "OTEL_CONFIG_FILE",
    "OTEL_EXPERIMENTAL_CONFIG_FILE",
    "OTEL_PYTHON_CONTEXT",
    "OTEL_PYTHON_ID_GENERATOR",
    "OTEL_PYTHON_METER_PROVIDER",
    "OTEL_PYTHON_TRACER_CONFIGURATOR",
    "OTEL_PYTHON_TRACER_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r'[^\x00-\x1f";\\\x7f-\U0010ffff]*')  # as it is written in the variable
_SENT_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


def is_turned_off() -> bool:
    """Return whether a variable turns traces off."""
    return _variable("OTEL_SDK_DISABLED").lower() == "true" or _variable("OTEL_TRACES_EXPORTER").lower() == "none"


def samples_by_parents() -> bool:
    """Return whether a span whose parent is recorded is recorded too."""
    return (_variable("OTEL_TRACES_SAMPLER").lower() or _DEFAULT_SAMPLER).startswith("parentbased_")


def export_seconds() -> float:
    """Return how long one export may take. The SDK takes the milliseconds of the specification for seconds."""
    exporter = _number(_chosen("TIMEOUT"), 10_000) or _MOST  # zero is no limit
    return min(exporter, _number("OTEL_BSP_EXPORT_TIMEOUT", 30_000) or _MOST) / 1000


def queue_size() -> int:
    """Return how many spans may wait to be sent."""
    return _number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)


def check_variables() -> None:
    """Check what traces need. Afterwards the SDK reads what was checked: no value has spaces around it or is empty.

    Raises: ConfigurationError: it names the variable, and does not quote it, because headers are secrets.
    """
    _trim()
    for name, (choices, rule) in _CHOICES.items():
        _check(name, _variable(name).lower() in {"", *choices}, rule)
    for name, least in _LEAST_NUMBERS.items():
        is_valid = re.fullmatch("[0-9]{1,10}", _variable(name) or "1") and least <= _number(name, least) <= _MOST
        _check(name, bool(is_valid), f"must be an integer from {least} to {_MOST}")
    batch = _number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)
    _check(
        "OTEL_BSP_MAX_QUEUE_SIZE", queue_size() >= batch, f"must be {batch} (OTEL_BSP_MAX_EXPORT_BATCH_SIZE) or more"
    )
    if _variable("OTEL_TRACES_SAMPLER").lower() in _RATIO_SAMPLERS:
        _check(
            "OTEL_TRACES_SAMPLER_ARG",
            _is_share(_variable("OTEL_TRACES_SAMPLER_ARG") or "1"),
            "must be a number from 0 to 1",
        )
    for name in _NOT_READ:
        _check(name, not _variable(name), "Meterport does not read it: remove it")
    _check_lists()
    for name, may_have_query in (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", True), ("OTEL_EXPORTER_OTLP_ENDPOINT", False)):
        is_url = not _variable(name) or _is_http(_variable(name), may_have_query)
        _check(name, is_url, "must be a URL such as http://collector:4318")
    _check_certificates()


def _check(name: str, is_valid: bool, rule: str) -> None:
    if not is_valid:
        raise ConfigurationError(f"{name}: {rule}")


def _trim() -> None:
    """Remove spaces around values, and variables without a value. The SDK does neither in all places."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        value = os.environ[name].strip()
        _check(name, _is_utf8(value), "must be UTF-8")
        if value:
            os.environ[name] = value
        else:
            del os.environ[name]


def _check_lists() -> None:
    propagators = set(_items("OTEL_PROPAGATORS")) or {"tracecontext"}
    is_read = "tracecontext" in propagators <= {"tracecontext", "baggage"}
    _check("OTEL_PROPAGATORS", is_read, "must be tracecontext: no other header of a caller is read")
    for name in (f"{prefix}HEADERS" for prefix in _OTLP):
        is_list = all(_is_header(item) for item in _items(name))
        _check(name, is_list, "must be name=value pairs with a comma between them, and other characters as %XX")
    is_list = all(_is_attribute(item) for item in _items("OTEL_RESOURCE_ATTRIBUTES"))
    _check("OTEL_RESOURCE_ATTRIBUTES", is_list, "must be name=value pairs with a comma between them, in UTF-8 as %XX")
    known = {"*", *entry_points(group="opentelemetry_resource_detector").names}
    detectors = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
    _check(detectors, known.issuperset(_items(detectors)), f"must be of {', '.join(sorted(known))}")


def _check_certificates() -> None:
    """Load what a TLS connection will load: the exporter opens it long after the start."""
    authorities, certificate, key = (_chosen(name) for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"))
    context = ssl.create_default_context()
    if _variable(authorities):
        try:
            context.load_verify_locations(cafile=_variable(authorities))
        except OSError as error:
            raise ConfigurationError(f"{authorities}: must be a file of PEM certificates: {_reason(error)}") from None
    _check(key, not _variable(key) or bool(_variable(certificate)), f"{certificate} must be set too")
    if _variable(certificate):
        try:
            context.load_cert_chain(_variable(certificate), _variable(key) or None, password="")
        except OSError as error:
            rule = f"must be a PEM file, and {key} its key without a password"
            raise ConfigurationError(f"{certificate}: {rule}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _chosen(suffix: str) -> str:
    """Return the name of the variable that is used: that for traces, if it is set."""
    return next((prefix + suffix for prefix in _OTLP if _variable(prefix + suffix)), _OTLP[-1] + suffix)


def _number(name: str, default: int) -> int:
    return int(_variable(name) or default)


def _items(name: str) -> Iterator[str]:
    return (item.strip() for item in _variable(name).split(",") if item.strip())


def _is_http(url: str, may_have_query: bool) -> bool:
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_plain = url.isprintable() and " " not in url and (may_have_query or not (parts.query or parts.fragment))
    return is_complete and is_plain


def _is_header(item: str) -> bool:
    name, separator, value = (part.strip() for part in item.partition("="))
    try:
        sent = (unquote(name, errors="strict"), unquote(value, errors="strict"))
    except ValueError:
        return False
    is_written_well = bool(separator and _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value))
    return is_written_well and bool(_HEADER_NAME.fullmatch(sent[0]) and _SENT_VALUE.fullmatch(sent[1]))


def _is_attribute(item: str) -> bool:
    name, _, value = item.partition("=")
    try:
        unquote(value, errors="strict")
    except ValueError:
        return False
    return bool(name.strip()) and "=" in item


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
