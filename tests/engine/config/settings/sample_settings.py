"""Secrets and files of these tests, and the one line that says what is wrong with settings."""

from pathlib import Path

import pytest

from engine.config.loading import load_settings
from engine.errors import ConfigurationError

KEY = "a-management-key-nobody-guesses"
TOKEN_KEY = "0123456789abcdef-signing"  # noqa: S105 - a sample
PASSWORD = "sesame-open"  # noqa: S105


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(config: Path | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(config, overrides)
    return str(refused.value)
