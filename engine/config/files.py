"""The files that settings come from: the YAML file, and the directory of secret files.

Owns: reading these files, and the one-line message that says what is wrong with a file. The settings themselves are
defined in engine/config/settings.py.
"""

import os
from collections.abc import Set
from pathlib import Path
from typing import Any

import yaml

from engine.errors import ConfigurationError

ENV_PREFIX = "METERPORT_"
SECRETS_VARIABLE = "METERPORT_SECRETS_DIR"  # A directory with one file per setting, named like its variable.

# Parts of PyYAML's messages, and what is shown instead: PyYAML quotes the text of the file, which may be a password.
# The first entry that matches is used.
_PROBLEMS = (
    ("that cannot start any token", "a value that begins with this character must be quoted"),
    ("found undefined alias", "there is no anchor of this name; quote a value that begins with *"),
    ("mapping values are not allowed here", "a colon followed by a space must be quoted"),
    ("could not find expected ':'", "a name without a colon after it, or a value that must be quoted"),
    ("found unknown escape character", "a backslash must be doubled in double quotes; single quotes need no doubling"),
    ("found unexpected end of stream", "the text ends within a value, list or mapping"),
    ("but found '<stream end>'", "the text ends within a value, list or mapping"),
    ("could not determine a constructor for the tag", "unknown tag; quote a value that begins with !"),
    ("tag", "unknown tag; quote a value that begins with !"),
    ("'!'", "unknown tag; quote a value that begins with !"),
    ("anchor", "not a valid anchor; quote a value that begins with & or *"),
    ("alias", "not a valid anchor; quote a value that begins with & or *"),
    ("directive", "a line that begins with % must be quoted"),
    ("expected a single document", "more than one document; quote a value that begins with ---"),
)
_WRONG_VALUE = "the value does not match its tag or its form"


class _Loader(yaml.SafeLoader):
    """A loader that refuses a name that appears twice in one mapping. PyYAML would silently drop the first one."""

    names: Set[str] = frozenset()  # The names of settings. Messages may show them, because they are not values.

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See `yaml.SafeLoader`."""
        names = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                name = key.value if key.value in self.names else "a name"
                raise _ConfigurationFault(f"{name} appears twice", key.start_mark)
            names.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """See `yaml.SafeLoader`. A value that does not match its tag or form raises any error of its conversion."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            raise _ConfigurationFault(_WRONG_VALUE, node.start_mark) from None


class _ConfigurationFault(yaml.MarkedYAMLError):
    """A fault with Meterport's own message. It is an error of PyYAML, because those have a position in the file."""

    def __init__(self, message: str, mark: yaml.Mark) -> None:
        super().__init__(problem=message, problem_mark=mark)


def read_configuration(path: Path, names: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the settings of a YAML file.

    Args: names: the names of settings; messages show no other text of the file.
    Raises: ConfigurationError: the file cannot be read, or does not contain settings.
    """
    loader = type("_NamingLoader", (_Loader,), {"names": names})
    try:
        values = yaml.load(_read_text(path), loader) or {}  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {_fault(error)}") from None
    except RecursionError:
        raise ConfigurationError(f"{path} is not YAML: lists or mappings are nested too deep") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigurationError(f"{path} must contain settings by name")
    return values


def _fault(error: yaml.YAMLError) -> str:
    """Return the position and the kind of a fault, without any text of the file: it may contain a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"position {error.position + 1}: a control character"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if isinstance(error, _ConfigurationFault):
        return f"{place}{error.problem}"
    reported = f"{getattr(error, 'problem', None) or ''} {getattr(error, 'context', None) or ''}"
    return place + next((shown for part, shown in _PROBLEMS if part in reported), "the text is not YAML from here on")


def secrets_directory() -> Path | None:
    """Return the directory of secret files; None if none is set. Raises: ConfigurationError: it is not a directory."""
    named = os.environ.get(SECRETS_VARIABLE)
    if named is None:
        return None
    if not named:
        raise ConfigurationError(f"{SECRETS_VARIABLE}: must not be empty")
    if not Path(named).is_dir():
        raise ConfigurationError(f"{SECRETS_VARIABLE}: {named} is not a directory")
    return Path(named)


def secret_files(directory: Path) -> dict[str, Path]:
    """Return the secret files of a directory by name. Raises: ConfigurationError: the directory cannot be read."""
    try:
        return {entry.name: entry for entry in directory.iterdir() if entry.name.upper().startswith(ENV_PREFIX)}
    except OSError as error:
        raise ConfigurationError(f"{SECRETS_VARIABLE}: cannot read {directory}: {error.strerror}") from None


def read_secrets(directory: Path, files: dict[str, Path]) -> dict[str, str]:
    """Return the contents of secret files by variable.

    pydantic-settings ignores an entry that is not a file, or that is a link to a target outside the directory. A key
    would then be missing without any message.
    Raises: ConfigurationError: a file cannot be read, or is a link to a target outside the directory.
    """
    for file in files.values():
        if directory.resolve() not in file.resolve().parents:
            raise ConfigurationError(f"cannot read {file}: it is a link that leads out of the directory")
    return {name.upper(): _read_text(file) for name, file in files.items()}


# The texts that were read from pipes: `--config <(decrypt meterport.yaml)` can be read only once.
_pipe_texts: dict[Path, str] = {}


def _read_text(path: Path) -> str:
    try:
        if path in _pipe_texts:
            return _pipe_texts[path]
        text = path.read_text(encoding="utf-8")
        if not path.is_file():
            _pipe_texts[path] = text
        return text  # noqa: TRY300 - the statements that can fail are above
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8: byte {error.start + 1}") from None
