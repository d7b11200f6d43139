"""The event log of the embedded product: an SQLite file beside the store, with no service to run.

Owns: the file. Appends, plans and acknowledgements go through the one queue of its writer (ingest/sqlite/writer.py).
The size is bounded: an append that would exceed `max_bytes` is refused before it is queued.
There is one partition, whose number is chosen at random when the file is created. A new file beside an old store starts
at offset 1 again, so neither its tokens nor its positions may be taken for those of the old file. There is one reader.
With `positions`, the store notes up to which position it has stored the log, every few seconds and at the end. The file
keeps what was noted, so that a copy of one that is older than the other is recognised (ingest/restored.py).
Source: docs/design.md R3 (durable append), R6 (plans); SQLite "WAL" and "PRAGMA synchronous".
"""

import contextlib
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from engine.errors import LogFull, LogUnavailable, MeterportError
from engine.health import Pulse
from engine.store import sql
from ingest.event_log import DeadLetterRun, Lag, Plan, Range, Record
from ingest.sqlite.writer import SqliteWriter
from ingest.stored_positions import StoredPositions

logger = logging.getLogger(__name__)
_NOTE_SECONDS = 5  # a copy that is older by less than this is not recognised
_LARGEST_PARTITION = 2**31 - 1


class SqliteLog:
    """An `EventLog` and an `EventAppender` in one SQLite file. Thread-safe.

    The file belongs to one process (engine/store/data_directory.py locks it).
    """

    def __init__(self, path: Path, max_bytes: int, positions: StoredPositions | None = None) -> None:
        self._positions = positions
        self._stored_position: int | None = None  # the position up to which this process has stored records
        self._last_noted = 0.0  # monotonic seconds
        self._path = path
        self._max_bytes = max_bytes
        self._read_connection = self._connect()
        self._read_connection.executescript(sql.statement("log/schema"))
        self._read_connection.execute(
            "INSERT OR IGNORE INTO identity VALUES (0, ?)", (1 + secrets.randbelow(_LARGEST_PARTITION),)
        )
        self.partition = int(self._read_connection.execute("SELECT partition FROM identity").fetchone()[0])
        self.appends = Pulse()
        self._state = threading.Condition()
        self._records, self._bytes = self._read_connection.execute(sql.statement("log/size")).fetchone()
        planned = self._read_connection.execute("SELECT max(last) FROM plans").fetchone()[0]
        self._position = int(planned or 0)  # the last planned position
        self._newest = int(
            self._read_connection.execute("SELECT coalesce(max(position), 0) FROM records").fetchone()[0]
        )
        self._planned: Plan | None = next(iter(self._read_plans()), None)
        self._inherited = self._planned  # the plan that the previous process left unfinished
        self._run: DeadLetterRun | None = None
        self._last_before_run = 0  # the last position that is read while a run of bad records is held
        self.assignments = 0
        self._writer = SqliteWriter(self._connect, self._on_commit)
        self.thread = self._writer.thread

    @property
    def name(self) -> str:
        """See `EventLog.name`."""
        return f"sqlite-{self.partition}"

    # appending

    def append(self, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        """See `EventAppender.append`."""
        size = sum(map(len, values))
        with self._state:
            if self._bytes + size > self._max_bytes:
                self.appends.failed("it is full: ingest is behind")
                raise LogFull(f"the event log holds {self._bytes} of {self._max_bytes} bytes: ingest is behind")
            # before they are durable, so that every record answered with 204 is in the lag
            self._records += len(values)
            self._bytes += size
        rows = [(arrived_ms, value) for value in values]
        done = self._writer.submit(lambda db: self._insert(db, rows))
        done.add_done_callback(lambda future: self._on_appended(future, len(values), size))
        return done

    def _insert(self, db: sqlite3.Connection, rows: list[tuple[int, bytes]]) -> None:
        db.executemany("INSERT INTO records (arrived_ms, value) VALUES (?, ?)", rows)

    def _on_appended(self, future: "Future[None]", records: int, size: int) -> None:
        error = future.exception()
        if error is None:
            self.appends.succeeded()
        else:
            self.appends.failed(str(error))
            with self._state:
                self._records -= records
                self._bytes -= size

    # reading

    def read(self, max_records: int, max_bytes: int, timeout_seconds: float) -> list[Record]:
        """See `EventLog.read`."""
        with self._state:
            self._state.wait_for(lambda: self._waiting() > 0, timeout_seconds)
            newest = self._last_readable()
        records: list[Record] = []
        size = 0
        with self._errors():
            for row in self._read_connection.execute(sql.statement("log/read"), (self._position, max_records)):
                size += len(row[2])
                if row[0] > newest or (records and size > max_bytes):
                    break
                records.append(Record(self.partition, *row))
        return records

    def reread(self, plan: Plan) -> list[Record]:
        """See `EventLog.reread`."""
        ((_, start, end),) = plan.ranges
        with self._errors():
            rows = self._read_connection.execute(sql.statement("log/read"), (start - 1, end - start)).fetchall()
        return [Record(self.partition, *row) for row in rows if row[0] < end]

    def pending(self) -> list[Plan]:
        """See `EventLog.pending`."""
        return [self._inherited] if self._inherited else []

    def planned(self) -> list[Plan]:
        """See `EventLog.planned`."""
        with self._state:
            return [self._planned] if self._planned else []

    # planning

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan:
        """See `EventLog.plan`."""
        ((_, start, end),) = ranges
        with self._state:
            previous = self._planned
        if previous:
            self._note(previous.ranges[0].end)
        with self._state:
            self._planned = plan = Plan(ranges, stored_ms)

        def write(db: sqlite3.Connection) -> None:
            if previous:
                self._delete(db, previous)
            db.execute("DELETE FROM plans")
            db.execute("INSERT INTO plans VALUES (?, ?, ?)", (start, end - 1, plan.stored_ms))

        try:
            freed = self._size_to_end_of(previous)
            self._writer.submit(write).result()
        except LogUnavailable:
            with self._state:
                self._planned = previous
            raise
        with self._state:
            self._subtract(freed)
            self._position = end - 1
        return plan

    def acknowledge(self, plan: Plan) -> None:
        """See `EventLog.acknowledge`."""

        def write(db: sqlite3.Connection) -> None:
            self._delete(db, plan)
            db.execute("DELETE FROM plans")

        self._note(plan.ranges[0].end)
        freed = self._size_to_end_of(plan)
        self._writer.submit(write).result()
        with self._state:
            self._subtract(freed)
            self._planned = self._inherited = None

    def release(self, plan: Plan) -> None:
        """See `EventLog.release`. The file belongs to this process alone, so the plan is also pending here."""

    def discard(self, plan: Plan) -> None:
        """See `EventLog.discard`."""
        self._writer.submit(lambda db: db.execute("DELETE FROM plans")).result()
        with self._state:
            self._planned = self._inherited = self._run = None
            self._position = plan.ranges[0].start - 1

    def is_current(self, plan: Plan) -> bool:  # noqa: ARG002 - the file is this process's alone
        """See `EventLog.is_current`."""
        return True

    def is_leader(self) -> bool:
        """See `EventLog.is_leader`."""
        return True

    def waiting(self) -> int:
        """See `EventLog.waiting`."""
        with self._state:
            return self._waiting()

    def has_work(self) -> bool:
        """Return whether anything in the log is still to be stored, without records that are held."""
        with self._state:
            return self._waiting() > 0 or self._planned is not None

    def _waiting(self) -> int:
        return max(0, self._last_readable() - self._position)

    def _last_readable(self) -> int:
        return self._last_before_run if self._run else self._newest

    def hold(self, run: DeadLetterRun) -> None:
        """See `EventLog.hold`."""
        with self._errors():
            before = self._read_connection.execute(
                "SELECT coalesce(max(position), 0) FROM records WHERE position < ?", (run.offset,)
            )
            last = int(before.fetchone()[0])
        with self._state:
            self._run, self._last_before_run = run, last

    def held(self) -> list[DeadLetterRun]:
        """See `EventLog.held`."""
        with self._state:
            return [self._run] if self._run else []

    def lag(self) -> Lag:
        """See `EventLog.lag`."""
        with self._state:
            return Lag(self._records, self._bytes)

    # what the store has noted

    @property
    def noted_position(self) -> int | None:
        """The position up to which the store has noted this log; None if it never has."""
        row = self._read_connection.execute("SELECT position FROM noted").fetchone()
        return int(row[0]) if row else None

    @property
    def next_position(self) -> int:
        """The position that the next record gets."""
        return int(self._read_connection.execute(sql.statement("log/next_position")).fetchone()[0])

    def continue_from(self, position: int) -> None:
        """Number new records from this position on: the store has other records at the positions before it."""

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM sqlite_sequence WHERE name = 'records'")
            db.execute("INSERT INTO sqlite_sequence VALUES ('records', ?)", (position - 1,))

        self._writer.submit(write).result()

    def _note(self, position: int, immediately: bool = False) -> None:
        """Have the store, and then the file, note that everything before a position is stored."""
        self._stored_position = position
        if self._positions is None or not (immediately or time.monotonic() - self._last_noted >= _NOTE_SECONDS):
            return
        self._positions.note(self.name, "", {self.partition: position})
        self._writer.submit(lambda db: db.execute("INSERT OR REPLACE INTO noted VALUES (0, ?)", (position,))).result()
        self._last_noted = time.monotonic()

    def close(self) -> None:
        """Have the store note its position, commit what was queued, then close the file."""
        if self._stored_position is not None:
            try:
                self._note(self._stored_position, immediately=True)
            except MeterportError as error:
                logger.warning("position_not_noted error=%s", error)
        self._writer.close()
        self._read_connection.close()

    def _delete(self, db: sqlite3.Connection, plan: Plan) -> None:
        db.execute("DELETE FROM records WHERE position < ?", (plan.ranges[0].end,))

    def _size_to_end_of(self, plan: Plan | None) -> Lag:
        if plan is None:
            return Lag(0, 0)
        with self._errors():
            row = self._read_connection.execute(sql.statement("log/size_before"), (plan.ranges[0].end,)).fetchone()
        return Lag(*row)

    def _subtract(self, freed: Lag) -> None:
        self._records -= freed.records
        self._bytes -= freed.bytes

    def _read_plans(self) -> list[Plan]:
        rows = self._read_connection.execute("SELECT first, last, stored_ms FROM plans").fetchall()
        return [Plan((Range(self.partition, first, last + 1),), stored_ms) for first, last, stored_ms in rows]

    def _on_commit(self, db: sqlite3.Connection) -> None:
        newest = db.execute("SELECT coalesce(max(position), 0) FROM records").fetchone()[0]
        with self._state:
            self._newest = max(self._newest, newest)
            self._state.notify_all()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LogUnavailable(f"the event log cannot be read: {error}") from error
