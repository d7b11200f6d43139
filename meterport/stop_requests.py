"""Requests to end a process: from signals, and from threads that have failed. The main thread waits for them.

A signal handler runs between any two steps of the main thread, which may hold a lock at that moment: of an event that
it waits for, of logging, of a metric. A handler that takes the same lock would wait for ever. So it only notes the
signal here, and the main thread does what follows: readiness reports that the process is stopping, the ports stay open
for `server.drain_seconds` (a second signal ends that), open requests are completed (meterport/services.py), and then
the workers end and everything is closed (meterport/process.py).
Source: docs.python.org "queue", SimpleQueue.put: it may be called by a signal handler during a call of `get`.
"""

import queue
import signal

from meterport.early_stop import STOP_SIGNALS

FAILURE = "failure"


class StopRequests:
    """The reasons to end: names of signals, or FAILURE."""

    def __init__(self) -> None:
        self._reasons: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen(self) -> None:
        """Note SIGTERM and SIGINT from now on. Call it in the main thread."""
        for number in STOP_SIGNALS:
            signal.signal(number, lambda number, _: self._reasons.put(signal.Signals(number).name))

    def fail(self) -> None:
        """Note that the process must end because a part of it has failed. Thread-safe."""
        self._reasons.put(FAILURE)

    def wait(self, seconds: float | None = None) -> str | None:
        """Return the next reason, or None if there is none within some seconds."""
        try:
            return self._reasons.get(timeout=seconds)
        except queue.Empty:
            return None
