"""Opening of a process whose ClickHouse may be away or lack migrations: it waits, and says on its ports for what.

Owns: the attempts to open the process, and what answers on the ports until one succeeds. Only a store that is away,
and with `store.migrate` = wait the migrations of this release, are waited for: every other error ends the process,
because it does not mend itself.
Source: docs/operations.md "Probes", "Upgrades".
"""

import logging
import threading
import time

from api.starting_app import create_starting_app
from engine.config.settings import Settings
from engine.errors import DataDirectoryInUse, StoreUnavailable
from engine.health import Health, Readiness
from engine.logging_setup import OncePerMinute
from engine.store.migrations import MigrationsPending
from ingest.readiness import abilities
from meterport.ports import API, TELEMETRY, Ports
from meterport.process import Process

logger = logging.getLogger(__name__)
logger.addFilter(OncePerMinute())
_QUIET_SECONDS = 3  # a process that opens sooner listens only then, so that no request gets 503
_RETRY_SECONDS = 1
_ABANDON_SECONDS = 10  # how long an attempt that nobody waits for any more may take
_OPENING = ("store", "it is being opened")


def open_process(settings: Settings, ports: Ports, ingests: bool, serves: bool) -> Process:
    """Return a process that is open and started, as soon as its store allows it.

    Raises: the error of an attempt, unless it is one that is waited for.
    """
    opening = _Opening(settings, ingests, serves)
    try:
        if not opening.ended.wait(_QUIET_SECONDS):
            for port in (API, TELEMETRY) if serves else (TELEMETRY,):
                app = create_starting_app(opening.readiness, port == TELEMETRY, settings.server.cors_origins)
                ports.answer(port, app, f"starting-{port}")
            opening.ended.wait()
    except BaseException:  # a signal, or a port that is not free
        opening.abandon()
        raise
    return opening.result()


class _Opening:
    """The attempts to open a process, in a thread. `ended` is set after the last one."""

    def __init__(self, settings: Settings, ingests: bool, serves: bool) -> None:
        self._settings, self._ingests, self._serves = settings, ingests, serves
        self._health = Health(abilities(ingests, serves), settings.server.unready_seconds)
        self._began = time.monotonic()
        self._awaited = _OPENING  # its name and the reason, for /readyz
        self._stop = threading.Event()
        self._process: Process | None = None
        self._failure: BaseException | None = None
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="opening", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._process = self._attempt()
                break
            except (StoreUnavailable, DataDirectoryInUse) as error:
                if not self._waits_for(error):
                    self._failure = error
                    break
                self._stop.wait(_RETRY_SECONDS)
            except BaseException as error:
                self._failure = error
                break
        self.ended.set()

    def _waits_for(self, error: StoreUnavailable | DataDirectoryInUse) -> bool:
        """Return whether the next attempt may succeed, and note for what the process waits."""
        match error:
            case MigrationsPending():
                self._awaited = ("schema", str(error))
                logger.warning("migrations_awaited pending=%s", ", ".join(error.names))
            case StoreUnavailable():
                self._awaited = ("store", "the store does not answer; the log says more")
                logger.warning("store_awaited error=%s", error)
            case _:  # `meterport migrate`, for which this process waits, uses the data directory. A server has a URL.
                if self._awaited[0] != "schema" or error.url is not None:
                    return False
                logger.info("directory_awaited error=%s", error)
        return True

    def _attempt(self) -> Process:
        process = Process(self._settings, self._ingests, self._serves, self._note_migration)
        self._awaited = _OPENING
        try:
            process.start()
        except BaseException:
            process.stop()
            raise
        return process

    def _note_migration(self, name: str) -> None:
        self._awaited = ("schema", f"this process runs the migration {name}")

    def readiness(self) -> Readiness:
        return self._health.without(*self._awaited, time.monotonic() - self._began)

    def result(self) -> Process:
        if self._process is None:
            assert self._failure is not None  # noqa: S101 - one of the two is set when the attempts have ended
            raise self._failure
        return self._process

    def abandon(self) -> None:
        """End the attempts, and the process if one has just succeeded."""
        self._stop.set()
        # An embedded store must be closed before the interpreter ends. A server may not answer for minutes.
        self._thread.join(_ABANDON_SECONDS if self._settings.store.url else None)
        if self._process is not None:
            self._process.stop()
