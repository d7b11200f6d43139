"""Ends a service that is asked to stop before it has started.

Owns: the handlers of SIGTERM and SIGINT until the service sets its own. The command line imports this module before
any other of the project, because the libraries behind the others take a second to load.
Source: signal(7); a supervisor takes an end by SIGTERM with another status than 0 for a failure.
"""

import signal
import sys
from types import FrameType

SERVICES = ("serve", "api", "ingest")
ENDING = (signal.SIGTERM, signal.SIGINT)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(0)


if sys.argv[1:2] and sys.argv[1] in SERVICES:
    for _number in ENDING:
        signal.signal(_number, _end)
