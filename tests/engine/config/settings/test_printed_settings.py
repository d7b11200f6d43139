"""Settings that were loaded: secrets are masked, nothing can be changed, and what is printed can be loaded again."""

from pathlib import Path

import pytest
import yaml

from engine.config.loading import load_settings
from engine.config.settings import Settings, setting_names
from engine.config.show import settings_yaml
from tests.engine.config.settings.sample_settings import KEY, PASSWORD, TOKEN_KEY, refusal, write

BROKER_PASSWORD = "abracadabra"  # noqa: S105
OPTIONS = {"sasl.oauthbearer.client.secret": "hocus-pocus"}


def _secretive() -> Settings:
    return load_settings(
        overrides={
            "api_key": KEY,
            "portal": {"token_keys": [TOKEN_KEY]},
            "store": {"url": f"https://meterport:{PASSWORD}@clickhouse:8443"},
            "kafka": {"sasl_password": BROKER_PASSWORD, "ssl_key_password": BROKER_PASSWORD, "options": OPTIONS}
            | {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"},
        }
    )


def test_secrets_are_masked_wherever_settings_are_printed() -> None:
    loaded = _secretive()

    printed = [repr(loaded), str(loaded), loaded.model_dump_json(), settings_yaml(loaded, {}, None)]

    for text in printed:
        assert "**********" in text
        secrets = (KEY, TOKEN_KEY, PASSWORD, BROKER_PASSWORD, *OPTIONS.values())
        assert not [secret for secret in secrets if secret in text]


def test_a_refused_secret_is_not_repeated() -> None:
    refused = refusal(portal={"token_keys": ["too-short"]}) + refusal(api_key_sha256="not-a-digest")

    assert "too-short" not in refused
    assert "not-a-digest" not in refused


def test_settings_cannot_be_changed_once_built() -> None:
    loaded = load_settings()

    with pytest.raises(ValueError):
        setattr(loaded, "log_level", "debug")  # noqa: B010 - mypy knows it cannot be set
    with pytest.raises(ValueError):
        setattr(loaded.server, "port", 1)  # noqa: B010


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in setting_names().items() if not field.description] == []


def test_the_settings_in_force_are_settings_again(tmp_path: Path) -> None:
    first = load_settings(
        overrides={"server": {"port": 1234}, "meters": [{"slug": "a", "eventType": "t", "aggregation": "COUNT"}]}
    )
    listed = settings_yaml(first, {}, None)

    again = yaml.safe_load(listed)

    again = {name: value for name, value in again.items() if value is not None}
    assert load_settings(write(tmp_path / "m.yaml", yaml.safe_dump(again))) == first
