"""Each alert rule fires when its condition has lasted, not before, and says what is wrong.

Prometheus' own promtool runs the rules on series that are made here. The faults themselves are caused in
tests/test_health.py, tests/test_monitoring.py, tests/ingest/test_restored.py, tests/ingest/test_partitions_held.py and
tests/ingest/kafka/test_refused.py.
"""

from typing import Any, NamedTuple

from deploy.monitoring.alerts import ALERTS
from tests.harness.alerts import STEP_SECONDS, run_rules
from tests.harness.services import available_or_skip

SOURCE = {"instance": "one:9100", "job": "meterport"}


class Case(NamedTuple):
    """What a metric does, when its alert does not fire yet, when it fires, and what it then says.

    `labels`: of the metric, beside those of the instance. `values`: in the notation of promtool, one every 15 seconds.
    `quiet`, `firing`: seconds since the first value.
    """

    alert: str
    metric: str
    labels: dict[str, str]
    values: str
    quiet: int
    firing: int
    summary: str


CASES = [
    Case(
        "MeterportDown", "up", {}, "1 0x40", 120, 135,
        "one:9100 cannot be scraped: the process is down or does not respond",
    ),
    Case(
        "MeterportNotReady", "meterport_ready", {}, "1 0x40", 60, 75,
        "one:9100 cannot do all its work: its /readyz says what is unavailable",
    ),
    Case(
        "MeterportStoreSilent", "meterport_dependency_silent_seconds", {"dependency": "store"}, "0+15x40", 30, 45,
        "ClickHouse has not answered one:9100 for 45s: no queries are answered and nothing is stored",
    ),
    Case(
        "MeterportBrokersSilent", "meterport_dependency_silent_seconds", {"dependency": "kafka-consumer"}, "0+15x40",
        30, 45, "The brokers have not answered the kafka-consumer of one:9100 for 45s",
    ),
    Case(
        "MeterportRefused", "meterport_kafka_refusals_total", {"right": "Read on topic events"}, "_x4 1+1x36", 60, 75,
        "The brokers refuse one:9100: it lacks the right Read on topic events",
    ),
    Case(
        "MeterportLagUnknown", "meterport_log_records", {}, "0" + 20 * " NaN", 120, 135,
        "one:9100 does not know its lag: the brokers do not answer, or the group gives it no partitions",
    ),
    Case(
        "MeterportPartitionHeld", "meterport_log_partitions_held", {}, "0 0 2x38", 15, 30,
        "one:9100 has stopped reading 2 partitions: too many records in a row are not events. Nothing more of these "
        "partitions is stored, and the topic's retention still deletes old records",
    ),
    Case(
        "MeterportWorkFails", "meterport_work_silent_seconds", {"work": "revocations"}, "0+15x40", 60, 75,
        'The work "revocations" of one:9100 has not succeeded for 1m 15s: answers may be based on data that is no '
        "longer current",
    ),
    Case(
        "MeterportIngestFails", "meterport_ingest_failures_total", {}, "0+1x40", 300, 330,
        "Steps of ingest on one:9100 fail and are retried: nothing is lost, but usage is behind",
    ),
    # A gap is often found when a process starts, so the first scrape may tell of it already.
    Case(
        "MeterportUsageMissing", "meterport_log_last_gap_timestamp_seconds", {}, "_ _ 20x38", 15, 30,
        "The event log of one:9100 has a gap: usage may be missing. The log of the process names the offsets",
    ),
]  # fmt: skip


def test_each_alert_fires_when_its_condition_has_lasted_and_not_before() -> None:
    assert [case.alert for case in CASES] == [alert.name for alert in ALERTS]

    available_or_skip(lambda: run_rules([_rules_test(case) for case in CASES]))


def test_a_gap_alerts_for_ten_minutes() -> None:
    [case] = [case for case in CASES if case.alert == "MeterportUsageMissing"]
    ended = {**_rules_test(case), "alert_rule_test": [_expected(case, 615, [_fired(case)]), _expected(case, 630, [])]}

    available_or_skip(lambda: run_rules([ended]))


def _rules_test(case: Case) -> dict[str, Any]:
    labels = ",".join(f'{name}="{value}"' for name, value in {**case.labels, **SOURCE}.items())
    return {
        "interval": f"{STEP_SECONDS}s",
        "input_series": [{"series": f"{case.metric}{{{labels}}}", "values": case.values}],
        "alert_rule_test": [_expected(case, case.quiet, []), _expected(case, case.firing, [_fired(case)])],
    }


def _expected(case: Case, seconds: int, alerts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"eval_time": f"{seconds}s", "alertname": case.alert, "exp_alerts": alerts}


def _fired(case: Case) -> dict[str, Any]:
    [severity] = [alert.severity for alert in ALERTS if alert.name == case.alert]
    return {
        "exp_labels": {**case.labels, **SOURCE, "severity": severity},
        "exp_annotations": {"summary": case.summary},
    }
