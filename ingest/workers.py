"""Background threads that end together: the consumer's loop, and work repeated at an interval.

Owns: starting, the one stop signal, and what happens when a thread fails: the first error is kept, everything stops,
and whoever runs the process asks for `failure`.
"""

import logging
import threading
from collections.abc import Callable

from engine.errors import Fatal, MeterportError
from engine.logs import SaidOnce

_log = logging.getLogger(__name__)
_log.addFilter(SaidOnce())  # work that is tried again five times a second, while the store is away


class Workers:
    """Threads around one stop event. `on_failure` is called once, from the failing thread."""

    def __init__(self, on_failure: Callable[[], None] = lambda: None) -> None:
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._threads: list[threading.Thread] = []

    def run(self, name: str, loop: Callable[[], None]) -> None:
        """Run `loop` in a thread; it returns when `stop` is set."""
        thread = threading.Thread(target=self._guarded, args=(name, loop), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def repeat(self, name: str, work: Callable[[], object], seconds: float) -> None:
        """Call `work` every `seconds`. An error that is not fatal is logged and the work tried again."""

        def loop() -> None:
            while not self.stop.wait(seconds):
                try:
                    work()
                except Fatal:
                    raise
                except MeterportError as error:
                    _log.warning("worker_failed name=%s error=%s", name, error)

        self.run(name, loop)

    def join(self, timeout_seconds: float) -> None:
        """Tell every thread to stop and wait for each."""
        self.stop.set()
        for thread in self._threads:
            thread.join(timeout_seconds)

    def _guarded(self, name: str, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:
            _log.critical("worker_died name=%s error=%s", name, error, exc_info=not isinstance(error, Fatal))
            self.failure = self.failure or error
            self.stop.set()
            self._on_failure()
