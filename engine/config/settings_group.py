"""The base class of all groups of settings."""

from pydantic import BaseModel, ConfigDict


class SettingsGroup(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
