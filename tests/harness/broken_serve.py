"""`meterport` without one of its guards, for tests that must see the crash harness fail.

The first argument names the guard: token (every insert gets a new one), plan (plans are not kept), durable-append (the
answer 204 is sent before the event is in the log).
"""

import sqlite3
import sys
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future

import meterport
from ingest.event_log import Plan, Range
from ingest.sqlite.log import SqliteLog


def without_token() -> None:
    Plan.token = property(lambda _: uuid.uuid4().hex)  # type: ignore[assignment,method-assign]


def without_plan() -> None:
    plan = SqliteLog.plan

    def forget(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM plans")

    def forgetful(self: SqliteLog, ranges: tuple[Range, ...], stored_ms: int) -> Plan:
        planned = plan(self, ranges, stored_ms)
        self._writer.submit(forget).result()
        return planned

    SqliteLog.plan = forgetful  # type: ignore[method-assign]


def without_durable_append() -> None:
    append = SqliteLog.append

    def hasty(self: SqliteLog, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        threading.Timer(0.5, append, [self, values, arrived_ms]).start()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    SqliteLog.append = hasty  # type: ignore[method-assign]


GUARDS = {"token": without_token, "plan": without_plan, "durable-append": without_durable_append}

if __name__ == "__main__":
    GUARDS[sys.argv.pop(1)]()
    meterport.main()
