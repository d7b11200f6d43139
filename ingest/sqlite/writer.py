"""The one thread that writes to an SQLite file: it takes all waiting writes and commits them together.

With synchronous=FULL a commit costs one fsync, so a hundred concurrent requests cost one fsync, too.
Source: docs/design.md R3 (durable append); SQLite "PRAGMA synchronous".
"""

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future

from engine import faults
from engine.errors import LogUnavailable

_Write = tuple[Callable[[sqlite3.Connection], object], "Future[None]"]


class SqliteWriter:
    """A thread with its own connection, and the queue of its writes. Thread-safe."""

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], on_commit: Callable[[sqlite3.Connection], None]
    ) -> None:
        """Args: on_commit: called after each commit, before the futures of its writes are done."""
        self._connect = connect
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._write_forever, name="log-writer", daemon=True)
        self.thread.start()

    def submit(self, write: Callable[[sqlite3.Connection], object]) -> "Future[None]":
        """Queue a write. The future is done once the write is durable; it fails with LogUnavailable."""
        future: Future[None] = Future()
        self._queue.put((write, future))
        return future

    def close(self) -> None:
        """Commit what was queued, then end the thread."""
        self._queue.put(None)
        self.thread.join()

    def _write_forever(self) -> None:
        with contextlib.closing(self._connect()) as db:
            while True:
                group, closing = self._take_all()
                if group:
                    self._commit(db, group)
                if closing:
                    return

    def _take_all(self) -> tuple[list[_Write], bool]:
        item = self._queue.get()
        group = []
        while item is not None:
            group.append(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, db: sqlite3.Connection, group: list[_Write]) -> None:
        try:
            db.execute("BEGIN IMMEDIATE")
            for write, _ in group:
                write(db)
            faults.hit("log.before-commit")
            db.execute("COMMIT")
            faults.hit("log.after-commit")
            # before the futures are done, so that the log contains every record reported as durable
            self._on_commit(db)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            for _, future in group:
                future.set_exception(LogUnavailable(f"the event log cannot be written: {error}"))
            return
        for _, future in group:
            future.set_result(None)
