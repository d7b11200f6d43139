"""One process of Meterport: store, event log, meters, tokens and workers, built from settings and run together.

Owns: what a process opens and in which order, and how it starts and stops. Its HTTP routes are in `api`.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette

from api.app import create_app, create_telemetry_app
from api.dependencies import Dependencies
from api.server import descriptors
from engine import faults, metrics
from engine.config.grace import WORKERS_SECONDS
from engine.config.kafka_settings import KafkaSettings
from engine.config.settings import Settings
from engine.errors import ConfigurationError, Conflict, Fatal, InvalidMeter
from engine.health import PROBE_SHARE, Health, Readiness
from engine.meters.definition import MeterDefinition, configured_definitions
from engine.meters.fill import Filler
from engine.meters.registry import MeterRegistry
from engine.store.data_directory import DirectoryLock
from engine.store.memory import fit_batches
from engine.store.migrations import Begin, prepare_schema
from engine.store.opening import explained_refusals, open_store
from engine.subjects import Subjects
from engine.tokens.portal_tokens import PortalTokens
from engine.tokens.signing_keys import load_token_keys
from ingest.consumer import Consumer
from ingest.dead_letters import DeadLetterSink
from ingest.event_log import EventLog
from ingest.fill_barrier import FillBarrier
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from ingest.left_behind import store_leftover_events, warn_about_leftover_events
from ingest.readiness import Parts, start_monitoring
from ingest.restored import compare_with_store
from ingest.sqlite.log import SqliteLog
from ingest.stored_positions import StoredPositions
from ingest.workers import Workers

logger = logging.getLogger("meterport")


class Process:
    """All parts of one process. They are open from construction on, and the workers run between `start` and `stop`.

    Args: ingests: whether it stores the events of the event log; a process that runs alone must. serves: whether it
        answers over HTTP. on_migration: is called with the name of each migration before it runs.
    """

    def __init__(
        self, settings: Settings, ingests: bool = True, serves: bool = True, on_migration: Begin = lambda _: None
    ) -> None:
        faults.arm(settings.fault)
        descriptors.raise_limit()
        self.settings = settings
        self._open_resources = contextlib.ExitStack()  # closed in reverse order
        try:
            with explained_refusals():
                self._open(settings, ingests, serves, on_migration)
        except BaseException:
            self._open_resources.close()
            raise

    def _open(self, settings: Settings, ingests: bool, serves: bool, on_migration: Begin) -> None:
        self._lock = DirectoryLock(settings.data_dir, settings.trust_data_dir) if _keeps_data(settings) else None
        if self._lock:
            self._open_resources.callback(self._lock.release)
        self.store = open_store(settings, creates=settings.store.migrate == "start")
        self._open_resources.callback(self.store.close)
        prepare_schema(self.store, settings, on_migration)
        self.registry = MeterRegistry(self.store)
        self.tokens = PortalTokens(self.store.with_own_connection(), load_token_keys(settings), settings.portal)
        self.subjects = Subjects(self.store)
        self.workers = Workers(on_failure=self._worker_failed)
        self.stopping = False
        self.on_failure: Callable[[], None] = lambda: None
        self._serves = serves
        self._consumer: Consumer | None = None
        self._health: Health | None = None  # set once the workers run
        self.event_log: EventLog | None = None
        self.appender: KafkaProducer | SqliteLog
        self._dead_letter_sink: DeadLetterSink | None = None
        if settings.kafka.brokers:
            self._open_kafka(settings.kafka, ingests)
        else:
            self._open_sqlite(settings)

    def _open_sqlite(self, settings: Settings) -> None:
        try:
            sqlite = SqliteLog(self._sqlite_path, settings.log.max_bytes, StoredPositions(self.store))
        except sqlite3.Error as error:
            raise ConfigurationError(f"data_dir: cannot keep the event log in {self._sqlite_path}: {error}") from None
        self._open_resources.callback(sqlite.close)
        self.event_log = self.appender = sqlite

    @property
    def _sqlite_path(self) -> Path:
        return self.settings.data_dir / "log.sqlite"

    def _open_kafka(self, settings: KafkaSettings, ingests: bool) -> None:
        producer = KafkaProducer(settings)
        self._open_resources.callback(producer.close)
        self.appender = producer
        self._dead_letter_sink = producer if settings.dead_letter_topic else None
        if ingests:
            end_query_seconds = self.settings.server.unready_seconds / PROBE_SHARE
            self.event_log = kafka_log = KafkaLog(
                settings, positions=StoredPositions(self.store), end_query_seconds=end_query_seconds
            )
            self._open_resources.callback(kafka_log.close)

    def start(self) -> None:
        """Create the configured meters, then start consuming, filling and refreshing."""
        with explained_refusals():
            self.registry.drop_orphans()
            self._create_configured_meters()
            self.registry.refresh()
        if self.event_log and self.settings.kafka.brokers:
            self._store_leftover_events()
        if self.event_log and not self.workers.stop.is_set():
            self._start_ingest(self.event_log)
        # What other processes change is read again and again. An embedded store has no other process: there only the
        # invalidations are forgotten whose tokens have expired.
        self.workers.repeat("refresher", self.registry.refresh, 1 if self.store.shared else 30)
        if self._serves:
            # A worker of its own, so that invalidations are known within a second, however many meters there are.
            self.workers.repeat("revocations", self.tokens.refresh, 0.5 if self.store.shared else 30)
        parts = (self.settings, self.store, self.registry, self.workers, self.appender, self.event_log, self._consumer)
        self._health = start_monitoring(Parts(*parts, serves=self._serves))
        metrics.READY.set_function(lambda: 0 if self.readiness().away else 1)

    def _store_leftover_events(self) -> None:
        """Store the events that the SQLite log in the data directory still holds from before Kafka was configured."""
        if self._lock:
            sink = self._dead_letter_sink
            store_leftover_events(self._sqlite_path, self.store, self.settings, self.workers.stop, sink)
        else:  # It is not certain that the directory belongs to this store.
            warn_about_leftover_events(self._sqlite_path)

    def _start_ingest(self, event_log: EventLog) -> None:
        if isinstance(event_log, SqliteLog):
            compare_with_store(event_log, self.store)
        self._consumer = consumer = Consumer(
            event_log,
            self.store,
            fit_batches(self.settings),
            self.workers.stop,
            dead_letter_sink=self._dead_letter_sink,
        )
        filler = Filler(self.store, self.registry, FillBarrier(consumer.unresolved, consumer.claims))

        def fill() -> None:
            while event_log.is_leader() and not self.workers.stop.is_set() and filler.step():
                pass

        self.workers.run("consumer", consumer.run)
        self.workers.repeat("filler", fill, 0.2)

    def stop(self, drain_seconds: float = 0) -> None:
        """Let the consumer drain the SQLite log for up to `drain_seconds`, then stop and close everything."""
        deadline = time.monotonic() + drain_seconds
        while self._has_own_work() and time.monotonic() < deadline and not self.workers.stop.is_set():
            time.sleep(0.02)
        self.workers.join(timeout_seconds=WORKERS_SECONDS)
        self._open_resources.close()

    def _has_own_work(self) -> bool:
        return self._consumer is not None and isinstance(self.event_log, SqliteLog) and self.event_log.has_work()

    def announce(self, url: str) -> None:
        """Publish the server's URL to commands that find the data directory in use."""
        if self._lock:
            self._lock.announce(url)

    def app(self) -> Starlette:
        """Return the HTTP application."""
        return create_app(self._dependencies())

    def telemetry_app(self) -> Starlette:
        """Return the application of the telemetry port."""
        return create_telemetry_app(self._dependencies())

    def readiness(self) -> Readiness:
        """Return what the process cannot do and why, and what it can still do."""
        health = self._health or Health([], self.settings.server.unready_seconds)
        failure = self.workers.failure
        if failure:
            # Messages of other errors may name hosts and statements; they are only logged.
            words = str(failure) if isinstance(failure, Fatal) else type(failure).__name__
            return health.without(f"thread {self.workers.failed_thread}", words)
        if self.stopping or self.workers.stop.is_set():
            return health.without("process", "stopping")
        return health.readiness()

    def _dependencies(self) -> Dependencies:
        return Dependencies(
            settings=self.settings,
            store=self.store,
            registry=self.registry,
            tokens=self.tokens,
            subjects=self.subjects,
            appender=self.appender,
            readiness=self.readiness,
            stopping=lambda: self.stopping,
        )

    def _worker_failed(self) -> None:
        self.on_failure()

    def _create_configured_meters(self) -> None:
        definitions = configured_definitions(self.settings.meters, self.settings.reserved_event_types)
        missing = [
            (index, definition) for index, definition in enumerate(definitions) if self._is_missing(index, definition)
        ]
        for index, definition in missing:
            try:
                self.registry.create(definition)
            except Conflict:
                self._is_missing(index, definition)  # Another process created it meanwhile. This raises if it differs.
            else:
                logger.info("meter_created slug=%s", definition.slug)

    def _is_missing(self, index: int, definition: MeterDefinition) -> bool:
        """Return whether a configured meter must be created. Raises: ConfigurationError: it cannot be created.

        Args: index: its index in the setting `meters`.
        """
        for meter in self.registry.all():
            if meter.slug == definition.slug:
                if meter.definition.counted == definition.counted:
                    return False
                raise ConfigurationError(
                    f"meters: {definition.slug} exists with another definition; delete the meter or change the setting"
                )
        try:
            self.registry.check_paths(definition)
        except InvalidMeter as error:
            raise ConfigurationError(f"meters[{index}]: {error}") from None
        return True


def _keeps_data(settings: Settings) -> bool:
    """Return whether anything is stored in the data directory. If so, only one process may use it at a time."""
    return not (settings.store.url and settings.kafka.brokers)
