"""Every answer equals the fold in plain Python, for random events, meters and queries, on rollups and on raw events.

An event passes all steps: log, decoding, duplicate check, block, views. METERPORT_TEST_LONG=1 runs thousands of cases.
"""

import dataclasses
import itertools
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from engine.config.settings import IngestSettings
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import GRAINS, create_rollup, drop_rollup
from engine.store.clickhouse import Store
from engine.usage.answers import query_json
from ingest.consumer import Consumer
from ingest.sqlite.log import SqliteLog
from tests.harness import oracle, strategies
from tests.harness.long_form import LONG
from tests.harness.translation import cloudevent, definition, rows, usage_query

EXAMPLES = 3000 if LONG else 14
Case = tuple[list[oracle.Event], oracle.Meter, list[oracle.Query]]
_numbers = itertools.count()
_EARLY = datetime(1970, 1, 1, tzinfo=UTC)


class Metering:
    """The embedded store with one event log, kept for all examples. Each example has its own meter and event types."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.log = SqliteLog(directory / "log.sqlite", 1 << 30)
        self.consumer = Consumer(self.log, store, IngestSettings(), threading.Event())
        self.consumer.start()

    def take(self, events: list[oracle.Event]) -> None:
        """Append and store events, in blocks of at most 20, so that several parts have to be merged."""
        now = 1_893_456_000_000  # 2030, so that no event is in the future
        for start in range(0, len(events), 20):
            self.log.append([cloudevent(event) for event in events[start : start + 20]], now).result()
            self.consumer.step()


@pytest.fixture
def metering(store: Store) -> Iterator[Metering]:
    with tempfile.TemporaryDirectory() as directory:
        metering = Metering(store, Path(directory))
        yield metering
        metering.log.close()


def _meter(meter: oracle.Meter, number: int) -> Meter:
    return Meter(
        id=str(number),
        version=1,
        definition=definition(meter),
        state=MeterState.READY,
        rollup=f"meter_{meter.slug}_{number:08x}",
        visible_from=_EARLY,
        filled_to=_EARLY,
        created_at=_EARLY,
        updated_at=_EARLY,
    )


def _ours(meter: oracle.Meter, number: int) -> oracle.Meter:
    return dataclasses.replace(meter, event_type=f"{meter.event_type}-{number}")


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=list(Phase),
    print_blob=True,
)
@given(case=strategies.cases())
def test_every_answer_equals_the_fold(metering: Metering, case: Case) -> None:
    events, meter, queries = case
    number = next(_numbers)
    tagged = [
        dataclasses.replace(event, type=f"{event.type}-{number}", source=f"{event.source}-{number}") for event in events
    ]
    asked_meter = _ours(meter, number)
    stored_meter = _meter(asked_meter, number)
    fold = oracle.Fold()
    create_rollup(metering.store, stored_meter)
    try:
        metering.take(tagged)
        for event in tagged:
            fold.add(event)

        for merged in (False, True):
            if merged:
                for grain in GRAINS:
                    metering.store.command(f"OPTIMIZE TABLE {stored_meter.table(grain)} FINAL")
            for query in queries:
                expected = fold.usage(asked_meter, query)
                for state in (MeterState.READY, MeterState.FILLING):
                    answering = dataclasses.replace(stored_meter, state=state)
                    answer = query_json(metering.store, answering, usage_query(query).resolved(answering))

                    assert rows(answer.rows) == expected, (state, merged, query, answer.grains)
    finally:
        drop_rollup(metering.store, stored_meter.rollup)
