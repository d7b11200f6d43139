"""All metrics: their types, units, labels and meanings. No other module creates metrics.

Names follow the conventions of Prometheus: base units, and `_total` for counters. docs/operations.md lists the metrics
for operators.
"""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from engine import __version__

disable_created_metrics()  # type: ignore[no-untyped-call] # no `_created` gauge for each counter

REGISTRY = CollectorRegistry()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

EVENTS_ACCEPTED = Counter(
    "meterport_events_accepted_total", "Events made durable and answered with 204 or 200.", registry=REGISTRY
)
EVENTS_STORED = Counter(
    "meterport_events_stored_total", "Events inserted into the store, each counted once.", registry=REGISTRY
)
EVENTS_DUPLICATE = Counter(
    "meterport_events_duplicate_total",
    "Events dropped because their (source, id) is already stored.",
    registry=REGISTRY,
)
EVENTS_DIFFERENT = Counter(
    "meterport_events_duplicate_different_total",
    "Duplicates whose content differs from the stored event, among those that were compared.",
    registry=REGISTRY,
)
DEAD_LETTERS = Counter("meterport_dead_letters_total", "Records that could not become an event.", registry=REGISTRY)
TIMESTAMPS_IGNORED = Counter(
    "meterport_timestamps_ignored_total",
    "Records whose timestamp cannot be their arrival; the instant at which they were stored is used instead.",
    registry=REGISTRY,
)
BLOCKS = Counter("meterport_blocks_total", "Blocks inserted.", registry=REGISTRY)
INGEST_FAILURES = Counter(
    "meterport_ingest_failures_total", "Steps of ingest that failed and are retried; inserts keep their token.",
    registry=REGISTRY,
)  # fmt: skip
Phase = Literal["poll", "decode", "deduplicate", "plan", "insert", "acknowledge", "paused"]
INGEST_SECONDS = Counter(
    "meterport_ingest_phase_seconds_total", "Time that ingest spends in each phase.", ["phase"], registry=REGISTRY
)
LOG_RECORDS = Gauge(
    "meterport_log_records",
    "Records of the event log that are not stored yet, the lag; NaN: unknown.",
    registry=REGISTRY,
)
LOG_BYTES = Gauge("meterport_log_bytes", "Bytes of these records; NaN: not known.", registry=REGISTRY)
PLANS_REFUSED = Counter(
    "meterport_plans_refused_total",
    "Plans in the consumer group that no process of this group made.",
    registry=REGISTRY,
)
LOG_GAPS = Counter(
    "meterport_log_gaps_total",
    "Times the event log lacked records, or its offsets had passed records that the store lacks: usage may be missing.",
    registry=REGISTRY,
)
LAST_GAP = Gauge(
    "meterport_log_last_gap_timestamp_seconds", "When the last of these gaps was found, in Unix time; 0: none was.",
    registry=REGISTRY,
)  # fmt: skip
PARTITIONS = Gauge(
    "meterport_log_partitions", "Partitions of the topic that this process reads; NaN: not known.", registry=REGISTRY
)
PARTITIONS_HELD = Gauge(
    "meterport_log_partitions_held", "Partitions that are read no further: too many records in a row are not events.",
    registry=REGISTRY,
)  # fmt: skip
REBALANCES = Counter(
    "meterport_log_rebalances_total", "Times this process was assigned partitions of the topic.", registry=REGISTRY
)
DELAY = Histogram(
    "meterport_event_delay_seconds", "Time from an event's arrival in the event log until its usage is visible.",
    buckets=_SECONDS, registry=REGISTRY,
)  # fmt: skip
QUERIES = Counter(
    "meterport_usage_queries_total",
    "Usage queries by the grains that answered; only raw: the meter is not filled yet, the range lies within a minute, "
    "or it is empty.",
    ["grains"], registry=REGISTRY,
)  # fmt: skip
REQUESTS = Counter(
    "meterport_http_requests_total",
    "HTTP requests by route and status.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "meterport_http_request_seconds", "Time to answer, by route.", ["route"], buckets=_SECONDS, registry=REGISTRY
)
KeyUse = Literal["allowed", "forbidden"]
KEY_REQUESTS = Counter(
    "meterport_key_requests_total", "Requests with an API key, by its name; forbidden: it lacks the route's scope.",
    ["key", "use"], registry=REGISTRY,
)  # fmt: skip
METERS = Gauge("meterport_meters", "Meters by the state of their rollup; NaN: not known.", ["state"], registry=REGISTRY)
SCHEMA_MIGRATIONS = Gauge(
    "meterport_schema_migrations",
    "Migrations of the schema: those of this release that have not completed, and those of newer releases.",
    ["state"],
    registry=REGISTRY,
)
READY = Gauge("meterport_ready", "1 while /readyz answers 200, 0 while it answers 503.", registry=REGISTRY)
DRAINING = Gauge(
    "meterport_draining", "1 from the signal to stop on, while requests are still answered.", registry=REGISTRY
)
BUILD_INFO = Gauge(
    "meterport_build_info", "Always 1; the label is the running release.", ["version"], registry=REGISTRY
)
BUILD_INFO.labels(__version__).set(1)
DEPENDENCY_SILENT = Gauge(
    "meterport_dependency_silent_seconds", "Time since a dependency of this process last answered.",
    ["dependency"], registry=REGISTRY,
)  # fmt: skip
KAFKA_REFUSALS = Counter(
    "meterport_kafka_refusals_total", "Times the brokers answered that this process lacks a right.", ["right"],
    registry=REGISTRY,
)  # fmt: skip
WORK_SILENT = Gauge(
    "meterport_work_silent_seconds", "Time since repeated work last succeeded.", ["work"], registry=REGISTRY
)
THREAD_ALIVE = Gauge(
    "meterport_thread_alive", "1 while a thread runs, 0 once it has ended.", ["thread"], registry=REGISTRY
)
CONNECTIONS = Gauge("meterport_http_connections", "Open connections, by port.", ["port"], registry=REGISTRY)
CONNECTIONS_MOST = Gauge(
    "meterport_http_connections_most", "Maximum number of connections, by port.", ["port"], registry=REGISTRY
)
CONNECTIONS_ENDED = Counter(
    "meterport_http_connections_ended_total",
    "Connections refused or closed because of what a client sent, or did not send in time.",
    ["reason"],
    registry=REGISTRY,
)


def count_gap() -> None:
    """Count a gap in the event log, and keep when it was found."""
    LOG_GAPS.inc()
    LAST_GAP.set_to_current_time()
