"""Redaction: secrets of the settings are removed from lines before they are shown, because a library may quote them.

Owns: the list of secrets, how they are recognised in a text, and how much of a setting's name is shown. This is a
second defence: Meterport's own messages never quote a secret.
Limits: a secret shorter than `MIN_SECRET_LENGTH` characters is not searched for. The same holds for an option whose
name does not mark it as a secret and whose value is short or a number. Otherwise lines would become unreadable.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.texts import lines_printable

if TYPE_CHECKING:
    from engine.config.settings import Settings  # This import takes long.

MASK = "**********"
MIN_SECRET_LENGTH = 4  # In characters; shorter secrets are not searched for.
_MIN_OPTION_LENGTH = 8
_SECRET_OPTION = re.compile(r"pass|secret|key|token|jaas|assertion|pem", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_.-]{0,64}")
_USERINFO = re.compile(r"(?<=://)[^/?#\s@]*@")


def secrets_of(settings: "Settings") -> list[str]:
    """Return the texts of the settings that no line may show, the longest first."""
    return sorted({secret for secret in _secrets(settings) if len(secret) >= MIN_SECRET_LENGTH}, key=len, reverse=True)


_known: list[str] = []  # The secrets of the settings that this process was started with.


def remember_secrets(settings: "Settings") -> None:
    """Store the secrets of the settings for `fit_to_show`."""
    _known[:] = secrets_of(settings)


def fit_to_show(text: str) -> str:
    """Return lines without the secrets of this process's settings and without terminal control sequences."""
    return lines_printable(redact(text, _known))


def one_line(text: str) -> str:
    """Return a text like `fit_to_show`, on one line. If it has several lines, they are joined with "; "."""
    return fit_to_show("; ".join(text.splitlines()))


def without_userinfo(text: str) -> str:
    """Return a text without the user names and passwords of the URLs in it."""
    return _USERINFO.sub("", text)


def shown_name(name: object) -> str:
    """Return a name for a message, cut at the first character that no name contains.

    The rest may be a secret value: in `name:value` the space after the colon is missing.
    """
    text = str(name)
    found = _NAME.match(text)
    return text if found and found[0] == text else f"{found[0] if found else ''}…"


def redact(text: str, secrets: list[str]) -> str:
    """Return a text with all these secrets masked."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def _secrets(settings: "Settings") -> Iterator[str]:
    kafka = settings.kafka
    keys = (settings.api_key, *(secret for entry in settings.api_keys for secret in (entry.key, entry.key_sha256)))
    for secret in (*keys, kafka.sasl_password, kafka.ssl_key_password, *settings.portal.token_keys):
        if secret is not None:
            yield secret.get_secret_value()
    if settings.api_key_sha256:
        yield settings.api_key_sha256
    yield from settings.store.secrets
    for name, option in kafka.options.items():
        value = option.get_secret_value()
        if _SECRET_OPTION.search(name) or (len(value) >= _MIN_OPTION_LENGTH and not value.isdigit()):
            yield value
            yield from value.split(",") if "," in value else ()
