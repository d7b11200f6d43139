"""The tests of this folder see no variable of the test process."""

import pytest

from engine.config.files import SECRETS_VARIABLE
from engine.config.settings import setting_names, variable_name


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in setting_names():
        monkeypatch.delenv(variable_name(setting), raising=False)
    monkeypatch.delenv(SECRETS_VARIABLE, raising=False)
