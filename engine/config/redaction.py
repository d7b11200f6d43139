"""Secrets of the settings, taken out of lines that are about to be shown: a library may quote what it was given.

Owns: what the secrets are, and how they are recognised in a text. This is the second line: errors of ours do not quote
them in the first place.
Limits: what is shorter than `LEAST` characters is not looked for, nor are options that are no secret by their name and
look like a number or a switch: lines would become unreadable.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from engine.texts import lines_printable

if TYPE_CHECKING:
    from engine.config.settings import Settings  # which takes a while to import

MASK = "**********"
LEAST = 4  # characters of a secret that is looked for
_LEAST_OF_AN_OPTION = 8
_SECRET_OPTION = re.compile(r"pass|secret|key|token|jaas|assertion|pem", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/?#\s@]*@")


def secrets_of(settings: "Settings") -> list[str]:
    """Return every text of the settings that no line may show, the longest first."""
    return sorted({secret for secret in _secrets(settings) if len(secret) >= LEAST}, key=len, reverse=True)


_known: list[str] = []  # of the settings this process was started with


def remember(settings: "Settings") -> None:
    """Have `fit_to_show` know the secrets of settings."""
    _known[:] = secrets_of(settings)


def fit_to_show(text: str) -> str:
    """Return lines without the secrets of this process's settings and without what a terminal obeys."""
    return lines_printable(redacted(text, _known))


def without_userinfo(text: str) -> str:
    """Return a text with user and password taken out of the URLs in it."""
    return _USERINFO.sub("", text)


def redacted(text: str, secrets: list[str]) -> str:
    """Return a text with secrets masked."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def _secrets(settings: "Settings") -> Iterator[str]:
    kafka = settings.kafka
    for secret in (settings.api_key, kafka.sasl_password, kafka.ssl_key_password, *settings.portal.token_keys):
        if secret is not None:
            yield secret.get_secret_value()
    if settings.api_key_sha256:
        yield settings.api_key_sha256
    if settings.store.url is not None:
        url = settings.store.url.get_secret_value()
        password = urlsplit(url).password or ""
        yield from (password, unquote(password))
        if "@" in url:
            yield url
    for name, option in kafka.options.items():
        value = option.get_secret_value()
        if _SECRET_OPTION.search(name) or (len(value) >= _LEAST_OF_AN_OPTION and not value.isdigit()):
            yield value
            yield from value.split(",") if "," in value else ()
