"""How a process logs: one line an event on stderr, as text or JSON; what goes wrong again and again, once a minute."""

import logging
import math
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import orjson

from engine.settings import Settings

_VARYING = re.compile(r"#\w+-\d+|\d+ms|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SAID_SECONDS = 60


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


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
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    handler.setFormatter(_JsonFormatter() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("uvicorn.error", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
