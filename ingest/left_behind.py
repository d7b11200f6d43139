"""Events that an earlier run left in the SQLite log of a data directory whose events now come from Kafka.

Owns: storing these events before anything else. They were answered with 204, and nothing else would ever read that file
again. One of its plans may be stored in part, so no event may be judged before that plan is finished.
Source: docs/design.md R11b (reruns); docs/operations.md "From the SQLite log to Kafka".
"""

import logging
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from engine.config.settings import Settings
from engine.errors import TooManyDeadLetters
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.dead_letters import DeadLetterSink
from ingest.persistence import Stopped
from ingest.restored import compare_with_store
from ingest.sqlite.log import SqliteLog
from ingest.stored_positions import StoredPositions

logger = logging.getLogger(__name__)
_PROGRESS_SECONDS = 10


def store_leftover_events(
    path: Path, store: Store, settings: Settings, stop: threading.Event, dead_letter_sink: DeadLetterSink | None = None
) -> None:
    """Store every event that the SQLite log at `path` still holds. Return at once if there is no such file.

    Raises: Fatal: going on would lose usage or count it twice.
    """
    if not path.exists():
        return
    with closing(SqliteLog(path, settings.log.max_bytes, StoredPositions(store))) as leftover:
        compare_with_store(leftover, store)
        if leftover.lag().records:
            logger.warning(
                "left_in_sqlite_log records=%d: they are stored before anything from Kafka", leftover.lag().records
            )
            _drain(leftover, Consumer(leftover, store, settings.ingest, stop, dead_letter_sink=dead_letter_sink), stop)


def warn_about_leftover_events(path: Path) -> None:
    """Log a warning if the SQLite log at `path` holds events that no process stores; it may belong to another store."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            records = int(db.execute("SELECT count(*) FROM records").fetchone()[0])
    except sqlite3.Error:
        return  # it is not a Meterport log
    if records:
        logger.warning(
            "left_in_sqlite_log records=%d path=%s: they are not read; if they belong to this store, run once without "
            "kafka.brokers until they are stored",
            records,
            path,
        )


def _drain(leftover: SqliteLog, consumer: Consumer, stop: threading.Event) -> None:
    last_logged = time.monotonic()
    try:
        consumer.start()
        while leftover.lag().records and not stop.is_set():
            consumer.step(0)
            for run in leftover.held():
                raise TooManyDeadLetters(
                    f"{run.records} records in a row in {leftover.name} are not events, the first at offset "
                    f"{run.first}: {run.reason}; set ingest.max_dead_letter_run above {run.records} to keep them as "
                    "dead letters"
                )
            if time.monotonic() - last_logged > _PROGRESS_SECONDS:
                last_logged = time.monotonic()
                logger.info("sqlite_log_drained_in_part records=%d", leftover.lag().records)
    except Stopped:
        logger.info("consumer_stopped_while_retrying")
