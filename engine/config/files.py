"""The files settings come from: the YAML file, and the directory of secret files.

Owns: reading them, and the one line that says what is wrong with a file. What they may hold is
engine/config/settings.py's.
"""

import os
import re
from collections.abc import Set
from pathlib import Path
from typing import Any

import yaml

from engine.errors import ConfigurationError

ENV_PREFIX = "METERPORT_"
SECRETS_VARIABLE = "METERPORT_SECRETS_DIR"  # a directory with one file a setting, named as its variable


_NAME = re.compile(r"[A-Za-z0-9_.-]{0,64}")
# What the library says is wrong, without the text it quotes there: that may be a password. In its order of importance.
_PROBLEMS = (
    ("that cannot start any token", "a value that begins so must be quoted"),
    ("found undefined alias", "there is no anchor of this name; quote a value that begins with *"),
    ("mapping values are not allowed here", "a colon followed by a space must be quoted"),
    ("could not find expected ':'", "a name without a colon after it, or a value that must be quoted"),
    ("found unknown escape character", "a backslash that must be doubled within double quotes, or needs single quotes"),
    ("found unexpected end of stream", "the text ends within a value, list or mapping"),
    ("but found '<stream end>'", "the text ends within a value, list or mapping"),
    ("could not determine a constructor for the tag", "unknown tag; quote a value that begins with !"),
    ("tag", "unknown tag; quote a value that begins with !"),
    ("'!'", "unknown tag; quote a value that begins with !"),
    ("anchor", "an anchor that is none; quote a value that begins with & or *"),
    ("alias", "an anchor that is none; quote a value that begins with & or *"),
    ("directive", "a line that begins with % must be quoted"),
    ("expected a single document", "more than one document; quote a value that begins with ---"),
)
_MISFIT = "the value is not what its tag or its form says"


def shown_name(name: object) -> str:
    """Return a name as far as it has the letters of one: what follows may be a value that lacks a space before it."""
    text = str(name)
    found = _NAME.match(text)
    return text if found and found[0] == text else f"{found[0] if found else ''}…"


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice in one mapping: the first would be lost in silence."""

    names: Set[str] = frozenset()  # these may be shown: they are no values

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See `yaml.SafeLoader`."""
        names = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                name = key.value if key.value in self.names else "a name"
                raise _Misfit(f"{name} stands there twice", key.start_mark)
            names.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """See `yaml.SafeLoader`; values that do not fit their tag or form raise whatever their conversion raises."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            raise _Misfit(_MISFIT, node.start_mark) from None


class _Misfit(yaml.MarkedYAMLError):
    """A fault that is told in words of ours. Raised as an error of the library: it carries the place."""

    def __init__(self, words: str, mark: yaml.Mark) -> None:
        super().__init__(problem=words, problem_mark=mark)


def read_configuration(path: Path, names: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the settings a YAML file holds.

    Args: names: names of settings; other texts of the file are not repeated.
    Raises: ConfigurationError: it cannot be read, or holds something else.
    """
    loader = type("_NamingLoader", (_Loader,), {"names": names})
    try:
        values = yaml.load(_read_text(path), loader) or {}  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {_fault(error)}") from None
    except RecursionError:
        raise ConfigurationError(f"{path} is not YAML: lists or mappings stand in each other too deep") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigurationError(f"{path} must hold settings by name")
    return values


def _fault(error: yaml.YAMLError) -> str:
    """Return place and kind of a fault, and nothing of the text: it may hold a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"position {error.position + 1}: a control character"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if isinstance(error, _Misfit):
        return f"{place}{error.problem}"
    said = f"{getattr(error, 'problem', None) or ''} {getattr(error, 'context', None) or ''}"
    return place + next((ours for theirs, ours in _PROBLEMS if theirs in said), "the text is not YAML from here on")


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
