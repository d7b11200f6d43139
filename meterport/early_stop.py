"""Ends a service with status 0 if it gets a signal to stop before it has started.

Owns: the handlers of SIGTERM and SIGINT until the service installs its own. The command line imports this module
before all others, because the libraries that the others import take a second to load.
Source: signal(7). A supervisor treats it as a failure if a process ends after SIGTERM with another status than 0.
"""

import signal
import sys
from types import FrameType

SERVICE_COMMANDS = ("serve", "api", "ingest")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(0)


if sys.argv[1:2] and sys.argv[1] in SERVICE_COMMANDS:
    for _number in STOP_SIGNALS:
        signal.signal(_number, _end)
