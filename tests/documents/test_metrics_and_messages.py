"""The documents name exactly the metrics and the log messages that exist."""

import re
from typing import get_args

from prometheus_client.metrics import MetricWrapperBase

from api.server.refusals import Reason
from engine import metrics
from engine.meters.meter import MeterState
from tests.documents.pages import OPERATIONS, mentioned, plain, rows, sources

# metrics


def test_every_metric_stands_with_its_type_and_labels() -> None:
    documented = {plain(row[0]): (row[1], sorted(re.findall(r"`(\w+)`", row[2]))) for row in _metrics_table()}

    assert documented == {_sample_name(metric): (_kind(metric), sorted(metric._labelnames)) for metric in _metrics()}


def test_every_metric_of_the_registry_is_one_of_the_module() -> None:
    """So the two neighbouring tests compare all metrics."""
    assert {family.name for family in metrics.REGISTRY.collect()} == {_describe(metric)[0] for metric in _metrics()}


def test_no_page_names_a_metric_that_does_not_exist() -> None:
    known = {_sample_name(metric) for metric in _metrics()}
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "count", "sum")}

    named = mentioned(r"\bmeterport_[a-z_]+")

    assert [(page, name) for page, name in named if name not in known] == []


def test_every_value_of_a_fixed_label_stands_with_its_metric() -> None:
    told = {plain(row[0]): set(re.findall(r"`(\w+)`", row[3])) for row in _metrics_table()}

    assert told["meterport_ingest_phase_seconds_total"] == {*get_args(metrics.Phase)}
    assert told["meterport_meters"] == {state.value for state in MeterState}
    reasons = {name for row in rows(OPERATIONS, "reason", "what happened", "likely") for name in row[0].split(", ")}
    assert {plain(name) for name in reasons} == {*get_args(Reason)}


def _metrics_table() -> list[list[str]]:
    return rows(OPERATIONS, "metric", "type", "labels", "tells", "alert on")


def _metrics() -> list[MetricWrapperBase]:
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


def _describe(metric: MetricWrapperBase) -> tuple[str, str]:
    (described,) = metric.describe()
    return described.name, described.type


def _kind(metric: MetricWrapperBase) -> str:
    return _describe(metric)[1]


def _sample_name(metric: MetricWrapperBase) -> str:
    name, kind = _describe(metric)
    return f"{name}_total" if kind == "counter" else name


# log messages


def test_every_log_message_stands_with_its_level() -> None:
    documented = {(plain(row[0]), row[1]) for row in rows(OPERATIONS, "message", "level", "means")}
    levels = {"exception": "error"}
    logged = {
        (name, levels.get(level, level))
        for path in sources()
        if path.suffix == ".py" and path.parent.name != "tests"
        for level, name in re.findall(r'logger\.(\w+)\(\s*"([a-z_]+)', path.read_text(encoding="utf-8"))
    }

    assert documented == logged
