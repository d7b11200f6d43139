"""The alert rules, for `rule_files` of Prometheus.

The scrape interval must be at most 30 s. `for` is longer than a restart or a rebalance takes.
Source: docs/operations.md "Metrics" and "Alerts".
"""

from typing import NamedTuple

import yaml

from deploy.monitoring.expressions import name
from engine import metrics

HEADER = """\
# Alerts on Meterport's metrics, for `rule_files` of Prometheus. docs/operations.md says what each metric means.
# The scrape interval must be at most 30 s. `for` is longer than a restart or a rebalance takes.
# `make monitoring` builds this file from deploy/monitoring/alerts.py; do not edit it.
# tests/test_health.py runs these rules with promtool on the metrics that were scraped in each outage.
"""


class Alert(NamedTuple):
    """One rule. `lasts`: how long the expression must be true, such as 2m; "": a moment is enough."""

    name: str
    expression: str
    summary: str
    lasts: str = ""
    severity: str = "critical"


_SILENT, _LAG = name(metrics.DEPENDENCY_SILENT), name(metrics.LOG_RECORDS)

ALERTS = (
    Alert(
        "MeterportDown",
        'up{job=~"meterport.*"} == 0',
        "{{ $labels.instance }} cannot be scraped: the process is down or does not respond",
        lasts="2m",
    ),
    Alert(
        "MeterportNotReady",
        f"{name(metrics.READY)} == 0",
        "{{ $labels.instance }} cannot do all its work: its /readyz says what is unavailable",
        lasts="1m",
    ),
    Alert(
        "MeterportStoreSilent",
        f'{_SILENT}{{dependency="store"}} > 30',
        "ClickHouse has not answered {{ $labels.instance }} for {{ $value | humanizeDuration }}: no queries are "
        "answered and nothing is stored",
    ),
    Alert(
        "MeterportBrokersSilent",
        f'{_SILENT}{{dependency=~"kafka-.*"}} > 30',
        "The brokers have not answered the {{ $labels.dependency }} of {{ $labels.instance }} for "
        "{{ $value | humanizeDuration }}",
    ),
    Alert(
        "MeterportRefused",
        f"increase({name(metrics.KAFKA_REFUSALS)}[5m]) > 0",
        "The brokers refuse {{ $labels.instance }}: it lacks the right {{ $labels.right }}",
    ),
    Alert(
        "MeterportLagUnknown",
        f"{_LAG} != {_LAG}",  # A comparison with NaN is never true, but NaN differs from itself.
        "{{ $labels.instance }} does not know its lag: the brokers do not answer, or the group gives it no partitions",
        lasts="2m",
        severity="warning",
    ),
    Alert(
        "MeterportPartitionHeld",
        f"{name(metrics.PARTITIONS_HELD)} > 0",
        "{{ $labels.instance }} has stopped reading {{ $value }} partitions: too many records in a row are not events. "
        "Nothing more of these partitions is stored, and the topic's retention still deletes old records",
    ),
    Alert(
        "MeterportWorkFails",
        f'{name(metrics.WORK_SILENT)}{{work=~"refresher|revocations"}} > 60',
        'The work "{{ $labels.work }}" of {{ $labels.instance }} has not succeeded for {{ $value | humanizeDuration }}'
        ": answers may be based on data that is no longer current",
    ),
    Alert(
        "MeterportIngestFails",
        f"increase({name(metrics.INGEST_FAILURES)}[1m]) > 0",
        "Steps of ingest on {{ $labels.instance }} fail and are retried: nothing is lost, but usage is behind",
        lasts="5m",
    ),
    Alert(
        "MeterportUsageMissing",
        # A process may find a gap when it starts. Its counter is then 1 in the first scrape, and does not increase.
        f"time() - ({name(metrics.LAST_GAP)} > 0) < 600",
        "The event log of {{ $labels.instance }} has a gap: usage may be missing. The log of the process names the "
        "offsets",
    ),
)


def rules() -> str:
    """Return the file of alert rules."""
    listed = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            **({"for": alert.lasts} if alert.lasts else {}),
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary},
        }
        for alert in ALERTS
    ]
    document = {"groups": [{"name": "meterport", "rules": listed}]}
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=1000, allow_unicode=True)
