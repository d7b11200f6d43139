"""The OTEL_ variables: each value works as OpenTelemetry's specification says, or is refused by the variable's name."""

import os
import ssl
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from engine.tracing import variables
from engine.tracing.variables import check_variables

NUMBERS = (
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
)
PAIRS = "must be name=value pairs with a comma between them"


def _refused(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set a variable, and return why it is refused: one line, which begins with its name and does not quote it."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        check_variables()
    said = str(raised.value)
    assert said.startswith(f"{variable}: ")
    assert len(said.splitlines()) == 1
    assert "secret" not in said
    return said


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_SDK_DISABLED", "yes", "must be true or false"),
        ("OTEL_TRACES_EXPORTER", "console", "must be otlp or none"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "must be otlp or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "must be gzip, deflate or none"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip,none", "must be gzip, deflate or none"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "must be one of always_off, always_on, "),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "511", "must be 512 (OTEL_BSP_MAX_EXPORT_BATCH_SIZE) or more"),
        ("OTEL_PROPAGATORS", "none", "must be tracecontext"),
        ("OTEL_PROPAGATORS", "tracecontext,b3", "must be tracecontext"),
        ("OTEL_PROPAGATORS", "baggage", "must be tracecontext"),
        ("OTEL_PYTHON_CONTEXT", "other", "does not read it"),
        ("OTEL_PYTHON_METER_PROVIDER", "other", "does not read it"),
        ("OTEL_CONFIG_FILE", "/otel.yaml", "does not read it"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "gcp", "does not read it"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "otel,other", "must be of *, "),
        ("OTEL_SERVICE_NAME", "\udcff", "must be UTF-8"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=\udcff", "must be UTF-8"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said in _refused(variable, value, monkeypatch)


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "1e3", "1_000", "٣", "2147483648", "9" * 30, "0x10"])
@pytest.mark.parametrize("variable", NUMBERS)
def test_a_number_is_an_integer_of_31_bits(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must be an integer from " in _refused(variable, value, monkeypatch)


@pytest.mark.parametrize("variable", NUMBERS[:3])
def test_some_numbers_are_positive(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must be an integer from 1 to 2147483647" in _refused(variable, "0", monkeypatch)


@pytest.mark.parametrize("share", ["5", "-0.1", "nan", "a tenth"])
def test_a_share_of_traces_is_a_number_up_to_one(share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would take each of these for 1, and record every request."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")

    assert "must be a number from 0 to 1" in _refused("OTEL_TRACES_SAMPLER_ARG", share, monkeypatch)


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
@pytest.mark.parametrize(
    "value", ["collector:4318", "http://[x", "http://", "ftp://c", "http://c:99999", "http://c:x", "http://a b", "/v1"]
)
def test_an_endpoint_is_a_url(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must be a URL such as" in _refused(variable, value, monkeypatch)


def test_only_the_endpoint_for_traces_may_have_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of traces is appended to the other one."""
    assert "must be a URL" in _refused("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/?secret=1", monkeypatch)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/take?tenant=1")
    check_variables()


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
@pytest.mark.parametrize(
    "value", ["secret", "a=b,secret", "a b=secret", "=secret", 'a="secret"', "a=secret;b", "a=secret%0A", "a=%E2%82%AC",
              "a=secret%FF", "a=secrét", "a%0Ab=secret"]
)  # fmt: skip
def test_headers_are_pairs_that_can_be_sent(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would leave out the pair, or fail with every export."""
    assert PAIRS in _refused(variable, value, monkeypatch)


@pytest.mark.parametrize("value", ["secret", "a=b,secret", "=secret", "a=%FF"])
def test_resource_attributes_are_pairs(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAIRS in _refused("OTEL_RESOURCE_ATTRIBUTES", value, monkeypatch)


@pytest.mark.parametrize("prefix", ["OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"])
def test_certificates_are_loaded_at_the_start(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("secret")
    for name in ("CERTIFICATE", "CLIENT_CERTIFICATE"):
        for path in (garbage, tmp_path / "absent.pem", tmp_path):
            assert "must be a" in _refused(prefix + name, str(path), monkeypatch)
        monkeypatch.delenv(prefix + name)
    assert "must be set too" in _refused(f"{prefix}CLIENT_KEY", str(garbage), monkeypatch)
    monkeypatch.delenv(f"{prefix}CLIENT_KEY")
    authorities = ssl.get_default_verify_paths().cafile
    if authorities:
        monkeypatch.setenv(f"{prefix}CERTIFICATE", authorities)
        check_variables()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SDK_DISABLED", "False"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
        ("OTEL_PROPAGATORS", "tracecontext,baggage"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20YTpi==, x-scope=a b%2C,"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a, b=c%20%C3%A4=,d=,"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "HTTPS://[::1]:4318/"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2147483647"),
    ],
)
def test_what_the_specification_allows_is_taken(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)

    check_variables()


def test_spaces_and_empty_values_do_not_reach_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take ` always_off` for a sampler that it does not know, and an empty limit for none at all."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", " always_off ")
    for name in (*NUMBERS, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_PROPAGATORS", "OTEL_PYTHON_CONTEXT"):
        monkeypatch.setenv(name, " ")

    check_variables()

    assert {name: value for name, value in os.environ.items() if name.startswith("OTEL_")} == {
        "OTEL_TRACES_SAMPLER": "always_off"
    }


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 10),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "12000"}, 12),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "12000", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "500"}, 0.5),
        ({"OTEL_BSP_EXPORT_TIMEOUT": "200"}, 0.2),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, 30),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "0", "OTEL_BSP_EXPORT_TIMEOUT": "0"}, 2147483.647),
    ],
)
def test_a_timeout_is_in_milliseconds(given: dict[str, str], seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    check_variables()

    assert variables.export_seconds() == seconds
