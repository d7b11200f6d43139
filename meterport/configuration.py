"""The settings of a command: flags take precedence over all other sources, and the configured meters are checked."""

from pathlib import Path
from typing import Any

from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.meters.definition import configured_definitions


def nest_flags(**flags: Any) -> dict[str, Any]:
    """Nest flags named group__name as {group: {name: value}}; leave out flags whose value is None."""
    nested: dict[str, Any] = {}
    for flag, value in flags.items():
        if value is not None:
            group, _, name = flag.partition("__")
            if name:
                nested.setdefault(group, {})[name] = value
            else:
                nested[group] = value
    return nested


def command_settings(
    config: Path | None, listens: bool = True, serves: bool = True, has_tokens: bool = True, **flags: Any
) -> Settings:
    """Build the settings of a command. Args: flags: named group__name. See `load_settings` for the other arguments.

    Raises: ConfigurationError: its one line names the setting.
    """
    settings = load_settings(config, nest_flags(**flags), listens, serves, has_tokens)
    configured_definitions(settings.meters, settings.reserved_event_types)
    return settings
