"""Background threads that end together: the consumer's loop, repeated work, and threads of other modules.

Owns: starting threads, the one stop signal, and what happens when a thread fails: the first error is kept as `failure`,
everything stops, and the process reads `failure`. A thread of another module is watched: it must not end before it is
asked to. For /readyz and the metrics it is kept when each repeated work last succeeded.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from engine import metrics
from engine.errors import Fatal, LogFailed, MeterportError
from engine.health import Pulse
from engine.logging_setup import OncePerMinute

logger = logging.getLogger(__name__)
logger.addFilter(OncePerMinute())  # work is retried five times a second while the store is away
_WATCH_SECONDS = 0.5


class Workers:
    """Threads that share one stop event. `on_failure` is called once, by the failing thread."""

    def __init__(self, on_failure: Callable[[], None] = lambda: None) -> None:
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        self.failed_thread = ""  # the name of the thread that failed first
        self.pulses: dict[str, Pulse] = {}  # one for each repeated work
        self._on_failure = on_failure
        self._threads: list[threading.Thread] = []
        self._watched: list[threading.Thread] = []

    def run(self, name: str, loop: Callable[[], None]) -> None:
        """Run `loop` in a thread. It must return when `stop` is set."""
        thread = threading.Thread(target=self._guarded, args=(name, loop), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        _measure_thread(thread)

    def repeat(self, name: str, work: Callable[[], object], seconds: float, at_once: bool = False) -> None:
        """Call `work` every `seconds`. An error that is not fatal is logged, and the work is tried again.

        Args: at_once: call it for the first time without waiting.
        """
        pulse = self.pulses[name] = Pulse()
        metrics.WORK_SILENT.labels(name).set_function(lambda: pulse.silent_seconds)

        def loop() -> None:
            if not at_once:
                self.stop.wait(seconds)
            while not self.stop.is_set():
                try:
                    work()
                except Fatal:
                    raise
                except MeterportError as error:
                    pulse.failed(error.code)
                    logger.warning("worker_failed name=%s error=%s", name, error)
                else:
                    pulse.succeeded()
                self.stop.wait(seconds)

        self.run(name, loop)

    def watch(self, threads: Iterable[threading.Thread]) -> None:
        """Fail when one of these threads ends before `stop` is set: nothing else would notice."""
        self._watched += threads
        for thread in self._watched:
            _measure_thread(thread)
        self.run("watcher", self._watch)

    def _watch(self) -> None:
        while not self.stop.wait(_WATCH_SECONDS):
            for thread in self._watched:
                if not thread.is_alive() and not self.stop.is_set():
                    self._fail(thread.name, LogFailed(f"the thread {thread.name} ended unexpectedly"))

    def join(self, timeout_seconds: float) -> None:
        """Ask every thread to stop, and wait for all of them together."""
        self.stop.set()
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))

    def _guarded(self, name: str, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:
            self._fail(name, error)
        else:
            if not self.stop.is_set():
                self._fail(name, LogFailed(f"the thread {name} ended unexpectedly"))

    def _fail(self, name: str, error: Exception) -> None:
        logger.critical("worker_died name=%s error=%s", name, error, exc_info=not isinstance(error, Fatal))
        self.failed_thread = self.failed_thread or name
        self.failure = self.failure or error
        self.stop.set()
        self._on_failure()


def _measure_thread(thread: threading.Thread) -> None:
    metrics.THREAD_ALIVE.labels(thread.name).set_function(thread.is_alive)
