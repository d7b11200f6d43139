"""The files settings come from: the YAML file, and the directory of secret files.

Owns: reading them, and the one line that says what is wrong with a file. What they may hold is engine/settings.py's.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from engine.errors import ConfigurationError

ENV_PREFIX = "METERPORT_"
SECRETS_VARIABLE = "METERPORT_SECRETS_DIR"  # a directory with one file a setting, named as its variable


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice in one mapping: the first would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See `yaml.SafeLoader`."""
        names = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands there twice", key.start_mark)
            names.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def read_configuration(path: Path) -> dict[str, Any]:
    """Return the settings a YAML file holds. Raises: ConfigurationError: it cannot be read, or holds something else."""
    try:
        values = yaml.load(_read_text(path), _Loader) or {}  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigurationError(f"{path} must hold settings by name")
    return values


def secrets_directory() -> Path | None:
    """Return the directory of secret files, None if there is none. Raises: ConfigurationError: it is no directory."""
    named = os.environ.get(SECRETS_VARIABLE)
    if named is None:
        return None
    if not named:
        raise ConfigurationError(f"{SECRETS_VARIABLE}: must not be empty")
    if not Path(named).is_dir():
        raise ConfigurationError(f"{SECRETS_VARIABLE}: {named} is not a directory")
    return Path(named)


def secret_files(directory: Path) -> dict[str, Path]:
    """Return the secret files by their names. Raises: ConfigurationError: the directory cannot be read."""
    try:
        return {entry.name: entry for entry in directory.iterdir() if entry.name.upper().startswith(ENV_PREFIX)}
    except OSError as error:
        raise ConfigurationError(f"{SECRETS_VARIABLE}: cannot read {directory}: {error.strerror}") from None


def read_secrets(directory: Path, files: dict[str, Path]) -> dict[str, str]:
    """Return what secret files hold, by variable.

    Raises: ConfigurationError: one cannot be read. The library passes over what is no file and what leads out of the
    directory: a key would be missing, and nobody told.
    """
    for file in files.values():
        if directory.resolve() not in file.resolve().parents:
            raise ConfigurationError(f"cannot read {file}: it is a link that leads out of the directory")
    return {name.upper(): _read_text(file) for name, file in files.items()}


_read_once: dict[Path, str] = {}  # what came from a pipe: `--config <(decrypt meterport.yaml)` is empty afterwards


def _read_text(path: Path) -> str:
    try:
        if path in _read_once:
            return _read_once[path]
        text = path.read_text(encoding="utf-8")
        if not path.is_file():
            _read_once[path] = text
        return text  # noqa: TRY300 - what can fail is above
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8: byte {error.start + 1}") from None
