"""How a process logs: one line an event on stderr, as text or JSON; what goes wrong again and again, once a minute.

Lines hold no secret of the settings and nothing that a terminal obeys, whatever a library or a field from outside says.
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
_SAID_SECONDS = 60


class _TextFormatter(logging.Formatter):
    """One line a message, whatever fields from outside hold; only a trace behind it has lines of its own."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self._secrets = secrets

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """See `logging.Formatter`."""
        return printable(redact(super().formatMessage(record), self._secrets))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        return lines_printable(redact(super().formatException(ei), self._secrets))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        return lines_printable(redact(super().formatStack(stack_info), self._secrets))


class _JsonFormatter(logging.Formatter):
    def __init__(self, secrets: list[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        masked = {name: redact(text, self._secrets) for name, text in entry.items()}
        return json_printable(json.dumps(masked, ensure_ascii=False, separators=(",", ":")))


class SaidOnce(logging.Filter):
    """Lets a line through once a minute: whoever cannot connect says so many times a second.

    Lines that differ in a client's number, the milliseconds or the id of a query alone are one line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        line, now = _VARYING.sub("", record.getMessage()), self._clock()
        if now - self._said.get(line, -math.inf) < _SAID_SECONDS:
            return False
        self._said = {said: at for said, at in self._said.items() if now - at < _SAID_SECONDS} | {line: now}
        return True


def configure_logging(settings: Settings) -> None:
    """Let this process log to stderr, as `settings` say and without their secrets."""
    remember_secrets(settings)
    handler = logging.StreamHandler(sys.stderr)
    formatter = _JsonFormatter if settings.log_format == "json" else _TextFormatter
    handler.setFormatter(formatter(secrets_of(settings)))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("uvicorn.error", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
