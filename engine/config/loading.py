"""Loading of the settings of a process from all their sources.

Owns: the order of the sources (command-line flag > METERPORT_* variable > secret file > YAML file > default), the rules
between settings, and the one-line message that says what is wrong. No other code reads settings from the environment.
An unknown setting or METERPORT_* variable is an error, unless Kubernetes or an image has set it
(engine/config/injected_variables.py).
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
)

from engine.config.api_keys import DEFAULT_NAME, conflict_between
from engine.config.files import (
    ENV_PREFIX,
    SECRETS_VARIABLE,
    read_configuration,
    read_secrets,
    secret_files,
    secrets_directory,
)
from engine.config.injected_variables import is_injected
from engine.config.key_strength import ADVICE, weakness
from engine.config.redaction import shown_name
from engine.config.settings import Settings, setting_names, variable_name
from engine.errors import ConfigurationError

_JSON_OBJECT = 'object such as {"a": "b"}'
_JSON_LIST = 'list such as ["a", "b"]'
_JSON_LIST_OF_OBJECTS = 'list such as [{"a": "b"}]'

HARNESS_PREFIX = "METERPORT_TEST_"  # Such variables are read by the test suite, never by Meterport.


_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def load_settings(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    listens: bool = True,
    serves: bool = True,
    has_tokens: bool = True,
) -> Settings:
    """Load and check the settings of this process.

    Args: config: the YAML file. overrides: values from command-line flags, nested as in YAML; they override all other
        sources. listens: the process serves the API at server.host, or sends its requests there. serves: it serves the
        API, so that `api_key` is a key that it accepts; otherwise it is the key that the process sends. has_tokens: it
        signs or verifies portal tokens.
    Raises: ConfigurationError: one line that names the setting.
    """
    secrets_dir = secrets_directory()
    _refuse_unknown([name for name, value in os.environ.items() if not is_injected(name, value)], "no such setting")
    secrets = _read_secrets(secrets_dir) if secrets_dir else {}
    yaml_values = read_configuration(config, _all_names()) if config else {}

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library defines the signature
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = [init_settings, env_settings]
            if secrets_dir:
                sources.append(NestedSecretsSettingsSource(file_secret_settings, secrets_dir=secrets_dir))
            if config:
                sources.append(InitSettingsSource(settings_cls, init_kwargs=yaml_values))
            return tuple(sources)

    place = f" (in {secrets_dir})"
    try:
        loaded = Sources(**dict(overrides or {}))
    except ValidationError as error:
        raise ConfigurationError(_first_error_message(error, overrides or {}, secrets, place, yaml_values)) from None
    except ValueError:  # pydantic-settings: a variable should be JSON, and is not.
        raise ConfigurationError(_json_error(secrets, place)) from None
    settings = Settings.model_construct(**{name: getattr(loaded, name) for name in Settings.model_fields})
    _check_combinations(settings, listens, has_tokens)
    if listens and serves:
        _check_keys(settings)
    return settings


def _first_error_message(
    error: ValidationError,
    overrides: Mapping[str, Any],
    secrets: Mapping[str, str],
    place: str,
    yaml_values: Mapping[str, Any],
) -> str:
    """Return the message about the first error, and the source of the value, if it is a file and only this file."""
    first = error.errors()[0]
    name = _dotted(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden" and first["input"] is None:  # {sasl_password: half,half}: the second half.
        name = f"{_dotted(first['loc'][:-1])}.…".removeprefix(".")
        message = "unknown setting without a value; a value that contains a comma must be quoted"
    elif first["type"] == "extra_forbidden":
        message = "unknown setting"
    elif first["type"] == "model_type":  # {server: null}: every setting of the group is a comment.
        message = "must contain settings by name"
    return f"{name}: {message}{_source(first['loc'], overrides, secrets, place, yaml_values)}"


def _source(
    location: tuple[str | int, ...],
    overrides: Mapping[str, Any],
    secrets: Mapping[str, str],
    place: str,
    yaml_values: Mapping[str, Any],
) -> str:
    path = [str(part) for part in location[:2]]
    variable = variable_name(".".join(path)) if path else ""
    given = {name.upper() for name in os.environ}
    if _has(overrides, path) or any(_share(variable, name) for name in given):
        return ""
    if any(_share(variable, name) for name in secrets):
        return place if variable in secrets else ""
    return " (in the configuration file)" if _has(yaml_values, path) else ""


def _has(values: Any, path: list[str]) -> bool:
    """Return whether nested values have a setting, or a part of a group, given by its path."""
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return not isinstance(values, Mapping)
        values = values[name]
    return bool(path)


def _share(one: str, other: str) -> bool:
    """Return whether two variables have a setting in common: they are the same, or one of them is the other's group."""
    return f"{one}__".startswith(f"{other}__") or f"{other}__".startswith(f"{one}__")


def _dotted(path: Iterable[str | int]) -> str:
    """Return the name of a setting, or of a value in one, as in `server.port` and `api_keys[0].name`."""
    names = (f"[{part}]" if isinstance(part, int) else f".{shown_name(part)}" for part in path)
    return "".join(names).removeprefix(".")


def _json_error(secrets: Mapping[str, str], place: str) -> str:
    """Return the message about a value that is not the JSON it should be.

    It names the variable, or the secret file and its `place`; the library's own message names only the group.
    """
    forms = {name.partition(".")[0]: _JSON_OBJECT for name in setting_names() if "." in name}
    forms |= {name: form for name, field in setting_names().items() if (form := _json_form(field.annotation))}
    given = {variable.upper(): text for variable, text in os.environ.items()}
    for texts, where in ((given, ""), (secrets, place)):
        for name, form in forms.items():
            text = texts.get(variable_name(name))
            if text is not None and not _is_json(text):
                return f"{variable_name(name)}: must be a JSON {form}{where}"
    return "a variable or secret file does not contain the JSON value that its setting needs"


def _json_form(annotation: Any) -> str | None:
    """Return what the JSON of a setting must be, given its type; None if it is not JSON."""
    if get_origin(annotation) is dict:
        return _JSON_OBJECT
    if get_origin(annotation) is not list:
        return None
    return _JSON_LIST if get_args(annotation)[0] in {str, SecretStr} else _JSON_LIST_OF_OBJECTS


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _check_combinations(settings: Settings, listens: bool, has_tokens: bool) -> None:
    if settings.api_key and settings.api_key_sha256 and not _digest_matches(settings):
        raise ConfigurationError("api_key_sha256: is not the SHA-256 of api_key; set only one of them")
    if has_tokens and _needs_shared_keys(settings):
        raise ConfigurationError("portal.token_keys: must be set if store.url is set; give every process the same keys")
    if not listens or settings.server.host in _LOOPBACK:
        return
    not_loopback = f"{settings.server.host} is not loopback"
    if not settings.management_keys:
        raise ConfigurationError(
            f"server.host: {not_loopback} and no api_key is set: set METERPORT_API_KEY, or listen on 127.0.0.1"
        )
    weak = weakness(settings.api_key.get_secret_value()) if settings.api_key else None
    if weak:
        raise ConfigurationError(f"api_key: the key {weak}, but {not_loopback}: {ADVICE}")
    for entry in settings.api_keys:
        weak = weakness(entry.key.get_secret_value()) if entry.key else None
        if weak:
            raise ConfigurationError(f'api_keys: the key named "{entry.name}" {weak}, but {not_loopback}: {ADVICE}')


def _check_keys(settings: Settings) -> None:
    """Check that `api_key` is not in `api_keys` too: it would be unclear what it may do."""
    conflict = conflict_between(settings.management_keys)
    if conflict:
        raise ConfigurationError(f'api_keys: {conflict}; api_key is named "{DEFAULT_NAME}"')


def _digest_matches(settings: Settings) -> bool:
    digest = settings.api_key_digest
    return digest is not None and digest.hex() == settings.api_key_sha256


def _needs_shared_keys(settings: Settings) -> bool:
    """Return whether signing keys must be set.

    With store.url other processes verify the tokens of this one, so a key in its data directory is not enough.
    """
    return settings.store.url is not None and not settings.portal.token_keys


def _all_names() -> frozenset[str]:
    """Return the names of all groups, and of all settings without their groups."""
    return frozenset(part for name in setting_names() for part in name.split("."))


def _read_secrets(directory: Path) -> dict[str, str]:
    """Return the contents of the secret files by variable. Raises: ConfigurationError: a file names no setting."""
    files = secret_files(directory)
    _refuse_unknown(files, f"no such setting (in {directory})")
    return read_secrets(directory, files)


def _refuse_unknown(variables: Iterable[str], problem: str) -> None:
    groups = {variable_name(name.split(".")[0]) for name in setting_names()}
    settings = {variable_name(name) for name in setting_names()}
    known = settings | groups | {SECRETS_VARIABLE}
    similar = {name.replace("_", ""): name for name in settings}
    for variable in sorted(variables):
        name = variable.upper()
        if name.startswith(ENV_PREFIX) and not name.startswith(HARNESS_PREFIX) and name not in known:
            suggestion = similar.get(name.replace("_", ""))
            raise ConfigurationError(f"{variable}: {problem}{f', did you mean {suggestion}?' if suggestion else ''}")
