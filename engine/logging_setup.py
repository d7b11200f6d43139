"""Logging of a process: one line per event on stderr, as text or JSON; a repeated problem is logged once a minute.

No line contains a secret of the settings or a control sequence for a terminal, whatever a library or a value from
outside puts into it.
"""

import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from engine.config.redaction import redact, remember_secrets, secrets_of
from engine.config.settings import Settings
from engine.texts import json_printable, lines_printable, printable

_VARYING = re.compile(r"#\w+-\d+|\d+ms|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REPEAT_SECONDS = 60  # The same line is logged again after this time.
_PACKAGES = ("engine", "ingest", "api", "meterport")  # Their templates have the form `event field=%s other=%d: prose`.
# They warn at each attempt to reach ClickHouse of an error that they raise too, and that Meterport then logs itself.
_RAISED_TOO = ("urllib3.connectionpool", "clickhouse_connect.driver._backend.http_sync")
_EVENT = re.compile(r"[a-z_]+(?=[ :]|\Z)")
_FIELD = re.compile(r"\b(?P<name>\w+)=(?P<template>\S+?)(?=[:,;]?(?:\s|\Z))")
_SPECIFIER = re.compile(r"%[-+ 0#]*\d*(?:\.\d+)?[a-z]")


class _TextFormatter(logging.Formatter):
    """Formats each message as one line, whatever values from outside contain; only a stack trace adds lines."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self._secrets = secrets

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library defines the name
        """See `logging.Formatter`."""
        return printable(redact(super().formatMessage(record), self._secrets))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        return lines_printable(redact(super().formatException(ei), self._secrets))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        return lines_printable(redact(super().formatStack(stack_info), self._secrets))


class _JsonFormatter(logging.Formatter):
    """Formats each line as a JSON object: the event and its fields are members, and so is the whole message."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **event_fields(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        masked = {
            name: redact(value, self._secrets) if isinstance(value, str) else value for name, value in entry.items()
        }
        return json_printable(json.dumps(masked, ensure_ascii=False, separators=(",", ":")))


def event_fields(record: logging.LogRecord) -> dict[str, str | int | float]:
    """Return the event and the fields of a line of Meterport, by name; of a library's line nothing.

    Numbers stay numbers; every other value is the text that the line shows.
    """
    template = str(record.msg)
    event = _EVENT.match(template)
    if event is None or record.name.partition(".")[0] not in _PACKAGES:
        return {}
    fields: dict[str, str | int | float] = {"event": event[0]}
    arguments = record.args if isinstance(record.args, tuple) else (record.args,)
    for field in _FIELD.finditer(template):
        first = len(_SPECIFIER.findall(template[: field.start()]))
        values = arguments[first : first + len(_SPECIFIER.findall(field["template"]))]
        is_number = _SPECIFIER.fullmatch(field["template"]) and isinstance(values[0], int | float)
        fields[field["name"]] = values[0] if is_number else field["template"] % values  # type: ignore[assignment]
    return fields


class OncePerMinute(logging.Filter):
    """Lets the same line through once a minute: a client that cannot connect logs its error many times a second.

    Lines that differ only in the number of a client, in milliseconds or in the id of a query count as the same line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last_logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        line, now = _VARYING.sub("", record.getMessage()), self._clock()
        if now - self._last_logged.get(line, -math.inf) < _REPEAT_SECONDS:
            return False
        self._last_logged = {
            logged: last for logged, last in self._last_logged.items() if now - last < _REPEAT_SECONDS
        } | {line: now}
        return True


def configure_logging(settings: Settings) -> None:
    """Configure the logging of this process: to stderr, as `settings` say, without their secrets."""
    remember_secrets(settings)
    handler = logging.StreamHandler(sys.stderr)
    formatter = _JsonFormatter if settings.log_format == "json" else _TextFormatter
    handler.setFormatter(formatter(secrets_of(settings)))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("uvicorn.error", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for repeated in _RAISED_TOO:
        logging.getLogger(repeated).setLevel(logging.ERROR)
