"""Reports, once, what is missing if a store or an SQLite log was restored without the other.

Owns: the comparison at the start, and its report: a log line, `meterport_log_gaps_total`, a dead letter.
The log deletes what is stored, so what an older copy of the store lacks cannot be read again. With a topic it can
(ingest/kafka/start_offsets.py).
Source: docs/design.md R6b (positions in the store); docs/operations.md "Restore".
"""

import logging

from engine import metrics
from engine.instants import Clock, milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.dead_letters import DeadLetter, dead_letter_block
from ingest.event_log import SEE_GAPS, Record
from ingest.sqlite.log import SqliteLog
from ingest.stored_positions import StoredPositions

logger = logging.getLogger(__name__)


def compare_with_store(log: SqliteLog, store: Store, clock: Clock = utc_now) -> None:
    """Report what is missing if the log and the store are copies of different age.

    Raises: StoreUnavailable, StoreError, LogUnavailable.
    """
    positions = StoredPositions(store)
    known = positions.known(log.name).positions.get(log.partition, 1)
    for plan in log.pending():
        if plan.ranges[0].end <= known:
            log.acknowledge(plan)  # it is stored, perhaps so long ago that tables have forgotten its token
    noted = log.noted_position
    if noted is None:
        return  # a new log: neither side has noted a position
    if known < noted:
        what = (
            f"offsets {known} to {noted - 1} were stored, but not in this store: it is an older copy or another store, "
            "and the event log no longer holds them"
        )
        _report(log, what)
        now_ms = milliseconds(clock())
        letter = DeadLetter(Record(log.partition, noted - 1, now_ms, None), what)
        store.insert_block("dead_letters", dead_letter_block([letter], now_ms), f"gap-{log.name}-{known}-{noted}")
        positions.note(log.name, "", {log.partition: noted})
    elif known > log.next_position:
        _report(
            log,
            f"offset {known} was reached, but the event log ends at {log.next_position}: it is an older copy than the "
            "store; what was accepted after the copy and not stored yet is missing",
        )
        log.continue_from(known)


def _report(log: SqliteLog, what: str) -> None:
    logger.error("log_gap log=%s: %s %s", log.name, what, SEE_GAPS)
    metrics.count_gap()
