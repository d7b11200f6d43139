"""What each command needs to be ready, and the metrics of these needs.

| needed          | it counts as missing when                               | what stops          |
|-----------------|---------------------------------------------------------|---------------------|
| store           | no statement succeeds                                   | `queries`, `ingest` |
| kafka-producer  | brokers answer neither a delivery nor the probe         | `events`            |
| kafka-consumer  | brokers report nothing about one of our partitions      | `ingest`            |
| kafka-group     | the group refuses this process; counts at once          | `ingest`            |
| kafka-rights    | a right is missing; counts at once                      | what needs it       |
| kafka-leaders   | a partition has no leader                               | `events`, `ingest`  |
| event-log       | every append fails                                      | `events`            |
| storing         | one step of ingest fails each time it is tried          | `ingest`            |
| refresher, …    | a worker that answers depend on fails each time         | `queries`           |

Everything but a missing right counts only after it has lasted for `server.unready_seconds`; brokers that have not
answered since the start count at once. The command `serve` needs
all three (events, queries, ingest), `api` needs events and queries, `ingest` needs ingest.
Source: docs/operations.md "Probes".
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from engine import metrics
from engine.config.settings import Settings
from engine.health import PROBE_SHARE, Ability, Check, Health, Trouble
from engine.meters.meter import MeterState
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from engine.texts import printable
from ingest.consumer import Consumer
from ingest.event_log import EventLog
from ingest.kafka.log import KafkaLog
from ingest.kafka.probe import BrokerProbe, describe_missing_rights
from ingest.kafka.producer import KafkaProducer
from ingest.sqlite.log import SqliteLog
from ingest.workers import Workers

_REFRESH_WORKERS = ("refresher", "revocations")  # these workers refresh the data that answers are computed from


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a process. `log`: the log it stores from, None if it stores nothing. `appender`: takes events."""

    settings: Settings
    store: Store
    registry: MeterRegistry
    workers: Workers
    appender: KafkaProducer | SqliteLog
    log: EventLog | None
    consumer: Consumer | None
    serves: bool  # whether it answers over HTTP


def start_monitoring(parts: Parts) -> Health:
    """Return the health of a process whose workers run, and start its probes, metrics and thread watcher."""
    limit = parts.settings.server.unready_seconds
    health = Health(abilities(parts.log is not None, parts.serves), limit)
    _add_store_check(health, parts, limit / PROBE_SHARE)
    if isinstance(parts.appender, KafkaProducer):
        _add_broker_checks(health, parts, parts.appender, limit / PROBE_SHARE)
    _add_step_checks(health, parts)
    threads = [parts.appender.thread]
    if isinstance(parts.log, KafkaLog):
        _add_group_check(health, parts.log)
        threads.append(parts.log.thread)
    if parts.log:
        _measure_log(health, parts.log)
    _measure_meters(parts, limit)
    parts.workers.watch(threads)
    return health


def abilities(ingests: bool, serves: bool) -> list[Ability]:
    """Return what a process is for."""
    return [*([Ability.EVENTS, Ability.QUERIES] if serves else []), *([Ability.INGEST] if ingests else [])]


def _add_store_check(health: Health, parts: Parts, probe_seconds: float) -> None:
    pulse = parts.store.pulse

    def probe() -> None:
        if pulse.silent_seconds >= probe_seconds:
            parts.store.ping()

    parts.workers.repeat("store-probe", probe, probe_seconds)
    check = health.silent(lambda: pulse.silent_seconds, lambda: "the store does not answer")
    health.needs("store", (Ability.QUERIES, Ability.INGEST), check)
    metrics.DEPENDENCY_SILENT.labels("store").set_function(lambda: pulse.silent_seconds)


def _add_broker_checks(health: Health, parts: Parts, producer: KafkaProducer, probe_seconds: float) -> None:
    answer_seconds = 2 * probe_seconds  # half of the time after which the process is unready
    probe = BrokerProbe(parts.settings.kafka, parts.serves, parts.log is not None, answer_seconds)
    log = parts.log

    def ask() -> None:
        if isinstance(log, KafkaLog) and log.monitor.refused:
            metrics.KAFKA_REFUSALS.labels(f"Read on group {log.group}").inc()
        probe.ask()

    parts.workers.repeat("brokers-probe", ask, probe_seconds, at_once=True)

    def after_first_answer(check: Check) -> Check:
        """Return a check that also finds brokers away that have never answered: they may be the wrong ones."""
        return lambda: check() if probe.answered else Trouble(probe.silence_reason, probe.pulse.silent_seconds)

    def producer_silent_seconds() -> float:
        return min(probe.pulse.silent_seconds, producer.appends.silent_seconds)

    def refused(ability: Ability) -> Trouble | None:
        missing = [right for needed_for, right in probe.missing if needed_for is ability]
        return Trouble(describe_missing_rights(missing), probe.refused_seconds) if missing else None

    health.needs("kafka-rights", (Ability.EVENTS,), lambda: refused(Ability.EVENTS))
    health.needs("kafka-rights", (Ability.INGEST,), lambda: refused(Ability.INGEST))
    health.needs(
        "kafka-leaders",
        (Ability.EVENTS, Ability.INGEST),
        health.silent(
            lambda: probe.leaderless_seconds,
            lambda: "partitions without a leader: " + ", ".join(map(str, probe.leaderless)),
        ),
    )
    if isinstance(log, KafkaLog):

        def consumer_silent_seconds() -> float:
            return max(log.monitor.silent_seconds, probe.pulse.silent_seconds)

        check = health.silent(consumer_silent_seconds, lambda: probe.silence_reason)
        health.needs("kafka-consumer", (Ability.INGEST,), after_first_answer(check))
        metrics.DEPENDENCY_SILENT.labels("kafka-consumer").set_function(consumer_silent_seconds)
    if parts.serves:
        check = health.silent(producer_silent_seconds, lambda: probe.silence_reason)
        health.needs("kafka-producer", (Ability.EVENTS,), after_first_answer(check))
        metrics.DEPENDENCY_SILENT.labels("kafka-producer").set_function(producer_silent_seconds)


def _add_group_check(health: Health, log: KafkaLog) -> None:
    def refused() -> Trouble | None:
        return (
            Trouble(describe_missing_rights([f"Read on group {log.group}"]), log.monitor.outside_group_seconds)
            if log.monitor.refused
            else None
        )

    health.needs("kafka-group", (Ability.INGEST,), refused)
    metrics.PARTITIONS.set_function(log.partitions)


def _add_step_checks(health: Health, parts: Parts) -> None:
    appends = health.failing(parts.appender.appends, "every append to the event log fails", fades=True)
    health.needs("event-log", (Ability.EVENTS,), appends)
    if parts.consumer:
        storing = health.failing(parts.consumer.pulse, "a step of ingest fails each time it is tried")
        health.needs("storing", (Ability.INGEST,), storing)
    for name in _REFRESH_WORKERS:
        if name in parts.workers.pulses:
            failing = health.failing(parts.workers.pulses[name], "it fails each time")
            health.needs(name, (Ability.QUERIES,), failing)


def _measure_log(health: Health, log: EventLog) -> None:
    def lines() -> Iterator[str]:
        for run in log.held():
            yield (
                f"partition {run.partition} is not read from offset {run.offset} on: {run.records} records in a row "
                f"are not events, the first at offset {run.first}: {printable(run.reason)}"
            )

    health.degraded_by(lines)
    metrics.LOG_RECORDS.set_function(lambda: log.lag().records)
    metrics.LOG_BYTES.set_function(lambda: log.lag().bytes)
    metrics.PARTITIONS_HELD.set_function(lambda: len(log.held()))


def _measure_meters(parts: Parts, limit: float) -> None:
    def count(state: MeterState) -> float:
        refresher = parts.workers.pulses.get("refresher")
        if refresher is None or refresher.silent_seconds >= limit:
            return math.nan
        return [meter.state for meter in parts.registry.all()].count(state)

    def measure(state: MeterState) -> None:
        metrics.METERS.labels(state.value).set_function(lambda: count(state))

    for state in MeterState:
        measure(state)
