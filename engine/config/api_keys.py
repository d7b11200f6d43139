"""The keys of the management API: their names, and what each of them may do.

Owns: the scopes, the form of an entry of the setting `api_keys`, and the rules that its members must keep.
Limits: a message names the entry and never quotes its key. engine/config/loading.py checks what depends on other
settings: whether a key is too weak, and whether `api_key` is in the list too.
Source: docs/settings.md "API keys"; docs/contract.md "Authentication" says which scope each route requires.
"""

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from engine.config.settings_group import SettingsGroup

DEFAULT_NAME = "default"  # of the key in the settings `api_key` and `api_key_sha256`

_CREDENTIAL = re.compile(r"[!-~]+")
_NAME = re.compile(r"[!-~]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Scope(StrEnum):
    """What a key may do. `ADMIN` includes all others."""

    INGEST = "ingest"
    QUERY = "query"
    TOKENS = "tokens"
    ADMIN = "admin"


class ManagementKey(NamedTuple):
    """A key that the API accepts. `digest`: the SHA-256 of the key."""

    name: str
    digest: bytes
    scopes: frozenset[Scope]

    def allows(self, scope: Scope) -> bool:
        """Return whether the key may call a route that requires this scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class ApiKey(SettingsGroup):
    """An entry of the setting `api_keys`."""

    name: str
    key: SecretStr | None = None
    key_sha256: SecretStr | None = None  # A short key can be guessed from its digest.
    scopes: list[str] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _short_and_visible(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("must be 1 to 64 visible ASCII characters without spaces")
        return name

    @field_validator("key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        return checked_credential(key)

    @field_validator("key_sha256")
    @classmethod
    def _is_a_digest(cls, digest: SecretStr | None) -> SecretStr | None:
        if digest is not None and not _DIGEST.fullmatch(digest.get_secret_value()):
            raise ValueError("must be the SHA-256 of the key in hex: 64 digits and lower-case letters from a to f")
        return digest

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if any(self.name == secret.get_secret_value() for secret in (self.key, self.key_sha256) if secret):
            raise ValueError("the name is the key itself: choose a name that may be shown")
        if self.key is None and self.key_sha256 is None:
            raise ValueError(f'"{self.name}" has neither key nor key_sha256: set one of them')
        if self.key is not None and self.key_sha256 is not None:
            raise ValueError(f'"{self.name}" has both key and key_sha256: set only one of them')
        if not self.scopes:
            raise ValueError(f'"{self.name}" has no scopes: give it one or more of {", ".join(Scope)}')
        if not {*self.scopes} <= {*Scope}:
            raise ValueError(f'"{self.name}" has an unknown scope: the scopes are {", ".join(Scope)}')
        return self

    @property
    def accepted(self) -> ManagementKey:
        """The key as requests are compared with it."""
        hexadecimal = self.key_sha256.get_secret_value() if self.key_sha256 else ""
        digest = key_digest(self.key) if self.key else bytes.fromhex(hexadecimal)
        return ManagementKey(self.name, digest, frozenset(map(Scope, self.scopes)))


def key_digest(key: SecretStr) -> bytes:
    """Return the SHA-256 of a key."""
    return hashlib.sha256(key.get_secret_value().encode()).digest()


def checked_credential(key: SecretStr | None) -> SecretStr | None:
    """Return a key unchanged. Raises: ValueError: no request can send it."""
    if key is not None and not key.get_secret_value():
        raise ValueError("must not be empty")
    if key is not None and not _CREDENTIAL.fullmatch(key.get_secret_value()):
        raise ValueError("must be visible ASCII characters without spaces: a request cannot send others")
    return key


def conflict_between(keys: Sequence[ManagementKey]) -> str | None:
    """Return which two of some keys have the same name, or are the same key; None if all differ."""
    names: set[str] = set()
    names_by_digest: dict[bytes, str] = {}
    for key in keys:
        if key.name in names:
            return f'two keys are named "{key.name}"'
        if key.digest in names_by_digest:
            return f'the keys named "{names_by_digest[key.digest]}" and "{key.name}" are the same'
        names.add(key.name)
        names_by_digest[key.digest] = key.name
    return None
