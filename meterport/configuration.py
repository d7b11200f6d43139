"""The settings of a command: its flags over everything else, and meters in them that can be created."""

from pathlib import Path
from typing import Any

from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.meters.definition import configured_definitions


def overrides(**flags: Any) -> dict[str, Any]:
    """Nest flags given as group__name; leave out those not given."""
    nested: dict[str, Any] = {}
    for flag, value in flags.items():
        if value is not None:
            group, _, name = flag.partition("__")
            if name:
                nested.setdefault(group, {})[name] = value
            else:
                nested[group] = value
    return nested


def settings_of(config: Path | None, listens: bool = True, **flags: Any) -> Settings:
    """Build the settings of a command. Args: flags: as group__name; see `load_settings` for the others.

    Raises: ConfigurationError: one line that names the setting.
    """
    settings = load_settings(config, overrides(**flags), listens)
    configured_definitions(settings.meters, settings.reserved_event_types)
    return settings
