"""Variables that Kubernetes and images add are passed over, but a misspelled setting is refused."""

from pathlib import Path

import pytest

from engine.config.files import SECRETS_VARIABLE
from engine.config.loading import load_settings
from engine.config.settings import Settings
from tests.engine.config.settings.sample_settings import refusal, write


def test_variables_of_the_test_suite_are_nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERPORT_TEST_ANYTHING", "1")

    assert load_settings().server.port == 8888


INJECTED = {
    "METERPORT_SERVICE_HOST": "10.0.0.1",
    "METERPORT_SERVICE_PORT": "8888",
    "METERPORT_SERVICE_PORT_HTTP": "8888",
    "METERPORT_SERVICE_PORT_HTTP_ALT": "8889",
    "METERPORT_PORT": "tcp://10.0.0.1:8888",
    "METERPORT_PORT_8888_TCP": "tcp://10.0.0.1:8888",
    "METERPORT_PORT_8888_TCP_PROTO": "tcp",
    "METERPORT_PORT_8888_TCP_PORT": "8888",
    "METERPORT_PORT_8888_TCP_ADDR": "10.0.0.1",
    "METERPORT_API_SERVICE_HOST": "fd00::7",
    "METERPORT_API_PORT": "tcp://[fd00::7]:80",
    "METERPORT_SERVER_PORT": "tcp://10.0.0.2:8888",
    "METERPORT_SERVER_SERVICE_PORT": "8888",
    "METERPORT_KAFKA_PORT": "tcp://10.0.0.3:9092",
    "METERPORT_KAFKA_PORT_9092_UDP": "udp://10.0.0.3:9092",
    "METERPORT_KAFKA_PORT_9092_SCTP_PROTO": "sctp",
    "METERPORT_STORE_0_EU_SERVICE_HOST": "10.0.0.4",
}


@pytest.mark.parametrize(("name", "value"), INJECTED.items(), ids=INJECTED)
def test_a_variable_that_kubernetes_injects_for_a_service_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """N1: before, it ended all commands with status 78."""
    monkeypatch.setenv(name, value)

    assert load_settings() == Settings()


def test_all_variables_of_a_service_are_passed_over_beside_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """N1."""
    for name, value in INJECTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("METERPORT_SERVER__PORT", "9000")

    assert load_settings().server.port == 9000


@pytest.mark.parametrize("name", ["METERPORT_VERSION", "METERPORT_IMAGE", "METERPORT_IMAGE_TAG", "METERPORT_TAG"])
def test_what_an_image_says_of_itself_is_passed_over(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Like N1: images and CI use variables with the same prefix."""
    monkeypatch.setenv(name, "1.2")

    assert load_settings() == Settings()


MISTYPED = {
    "METERPORT_PORT": "9000",
    "METERPORT_SERVER_PORT": "9000",
    "METERPORT_SERVER_HOST": "10.0.0.1",
    "METERPORT_SERVICE_HOST": "0.0.0.0",  # noqa: S104 - refused
    "METERPORT_SERVICE_PORT": "http",
    "METERPORT_SERVER__SERVICE_PORT": "8888",
    "METERPORT_PORT_8888_TCP": "8888",
    "METERPORT_PORT_8888_HTTP": "tcp://10.0.0.1:8888",
    "METERPORT_PORT_8888_TCP_HOST": "10.0.0.1",
    "METERPORT_KAFKA_BROKERS": "tcp://10.0.0.3:9092",
    "METERPORT_VERSIONS": "1.2",
    "meterport_service_host": "10.0.0.1",
}


@pytest.mark.parametrize(("name", "value"), MISTYPED.items(), ids=MISTYPED)
def test_a_variable_that_is_only_like_an_injected_one_is_still_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """N1: a user who forgets an underscore must get an error."""
    monkeypatch.setenv(name, value)

    assert refusal().partition(",")[0] in {f"{name}: no such setting", "server.service_port: unknown setting"}


@pytest.mark.parametrize("name", ["METERPORT_SERVICE_PORT", "METERPORT_VERSION"])
def test_a_secret_file_named_as_an_injected_variable_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """N1: only the operator puts files there."""
    write(tmp_path / name, "8888")
    monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path))

    assert refusal() == f"{name}: no such setting (in {tmp_path})"
