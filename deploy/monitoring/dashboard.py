"""The dashboard for Grafana: what a team on call looks at first, from usage that is behind to what is to blame.

Limits: Grafana 10 or later. Source: Grafana's dashboard JSON model.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from deploy.monitoring.expressions import highest, increase, name, quantile, rate, selected, total
from engine import metrics

_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Line(NamedTuple):
    """One expression of a panel. `legend`: a text with labels in double braces, as Grafana writes them."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """One panel with lines over time. `unit`: one of Grafana's, such as `s`, `short`, `reqps`."""

    title: str
    description: str
    unit: str
    lines: Sequence[Line]


class Row(NamedTuple):
    """A titled row of panels."""

    title: str
    panels: Sequence[Panel]


_ACCEPTED, _STORED, _ROUTE = "accepted over HTTP", "stored", "{{route}}"

ROWS = (
    Row(
        "Is usage complete and current?",
        (
            Panel(
                "Events a second",
                "What is accepted over HTTP, and what is stored. With Kafka, producers may also write to the topic.",
                "cps",
                (Line(rate(metrics.EVENTS_ACCEPTED), _ACCEPTED), Line(rate(metrics.EVENTS_STORED), _STORED)),
            ),
            Panel(
                "Lag",
                "Records of the event log that are not stored yet. It should be near zero, and never rise for long.",
                "short",
                (
                    Line(total(metrics.LOG_RECORDS), "all"),
                    Line(highest(metrics.LOG_RECORDS, "instance"), "{{instance}}"),
                ),
            ),
            Panel(
                "Time until usage is visible",
                "From an event's arrival in the log until its usage is visible, of the first event of each block.",
                "s",
                (Line(quantile(0.5, metrics.DELAY), "half"), Line(quantile(0.99, metrics.DELAY), "99 %")),
            ),
            Panel(
                "Ready",
                "1 while a process can do all its work. /readyz says what is away, and what works nevertheless.",
                "short",
                (Line(highest(metrics.READY, "instance"), "{{instance}}"),),
            ),
            Panel(
                "What must not rise",
                "Gaps of the log, dead letters, refused plans, and duplicates whose content differs from the first.",
                "short",
                (
                    Line(increase(metrics.LOG_GAPS), "gaps"),
                    Line(increase(metrics.DEAD_LETTERS), "dead letters"),
                    Line(increase(metrics.PLANS_REFUSED), "refused plans"),
                    Line(increase(metrics.EVENTS_DIFFERENT), "differing duplicates"),
                ),
            ),
            Panel(
                "Silence of what a process needs",
                "Time since the store and the brokers last answered each process. Above server.unready_seconds it is "
                "not ready.",
                "s",
                (Line(highest(metrics.DEPENDENCY_SILENT, "dependency, instance"), "{{dependency}} {{instance}}"),),
            ),
        ),
    ),
    Row(
        "Ingest",
        (
            Panel(
                "Where ingest spends its time",
                "Seconds of each second, by phase. `poll` and `paused` are waiting; `insert` is ClickHouse.",
                "s",
                (Line(rate(metrics.INGEST_SECONDS, "phase"), "{{phase}}"),),
            ),
            Panel(
                "Blocks and failed steps a second",
                "Failed steps are retried, and nothing is lost.",
                "cps",
                (Line(rate(metrics.BLOCKS), "blocks"), Line(rate(metrics.INGEST_FAILURES), "failed steps")),
            ),
            Panel(
                "Duplicates a second",
                "Events that were dropped because their source and id are stored already.",
                "cps",
                (Line(rate(metrics.EVENTS_DUPLICATE), "duplicates"),),
            ),
            Panel(
                "Partitions",
                "Partitions that each process reads, and those that are held.",
                "short",
                (
                    Line(highest(metrics.PARTITIONS, "instance"), "{{instance}}"),
                    Line(total(metrics.PARTITIONS_HELD), "held"),
                ),
            ),
            Panel(
                "Assignments of partitions",
                "They change when processes come and go.",
                "short",
                (Line(increase(metrics.REBALANCES, "instance"), "{{instance}}"),),
            ),
            Panel(
                "Meters by state",
                "A meter that was created after its events is filled once.",
                "short",
                (Line(highest(metrics.METERS, "state"), "{{state}}"),),
            ),
        ),
    ),
    Row(
        "Requests",
        (
            Panel(
                "Requests a second by status",
                "503 means that something is away; 429 that a client asks too often.",
                "reqps",
                (Line(rate(metrics.REQUESTS, "status"), "{{status}}"),),
            ),
            Panel(
                "Time to answer, half of the requests",
                "By route.",
                "s",
                (Line(quantile(0.5, metrics.REQUEST_SECONDS, "route"), _ROUTE),),
            ),
            Panel(
                "Time to answer, 99 % of the requests",
                "By route.",
                "s",
                (Line(quantile(0.99, metrics.REQUEST_SECONDS, "route"), _ROUTE),),
            ),
            Panel(
                "Usage queries a second by grain",
                "`raw` alone: a meter that is not filled yet, or bounds within a minute.",
                "cps",
                (Line(rate(metrics.QUERIES, "grains"), "{{grains}}"),),
            ),
            Panel(
                "Connections",
                "Open connections of each port, and how many there may be.",
                "short",
                (
                    Line(highest(metrics.CONNECTIONS, "port, instance"), "{{port}} {{instance}}"),
                    Line(highest(metrics.CONNECTIONS_MOST, "port"), "{{port}}: most"),
                ),
            ),
            Panel(
                "Connections that were ended, a second",
                "Because of what a client sent, or did not send in time.",
                "cps",
                (Line(rate(metrics.CONNECTIONS_ENDED, "reason"), "{{reason}}"),),
            ),
        ),
    ),
    Row(
        "Processes",
        (
            Panel(
                "Silence of repeated work",
                "Time since each repeated work last succeeded.",
                "s",
                (Line(highest(metrics.WORK_SILENT, "work"), "{{work}}"),),
            ),
            Panel(
                "Threads that have ended",
                "A process whose thread ends unexpectedly stops.",
                "short",
                (Line(f"count by (thread) ({selected(metrics.THREAD_ALIVE)} == 0) or vector(0)", "{{thread}}"),),
            ),
            Panel(
                "Releases",
                "Processes by the release that they run: two during an upgrade.",
                "short",
                (Line(f"count by (version) ({selected(metrics.BUILD_INFO)})", "{{version}}"),),
            ),
            Panel(
                "Migrations of the schema",
                "As the processes found them at their start: pending ones of their release, and those of a newer one.",
                "short",
                (Line(highest(metrics.SCHEMA_MIGRATIONS, "state"), "{{state}}"),),
            ),
        ),
    ),
)


def dashboard() -> str:
    """Return the dashboard as JSON."""
    document = {
        "uid": "meterport",
        "title": "Meterport",
        "description": "Built by `make monitoring` from deploy/monitoring/dashboard.py.",
        "tags": ["meterport"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_panels()),
    }
    return json.dumps(document, indent=2) + "\n"


def _variables() -> list[dict[str, Any]]:
    ready = name(metrics.READY)
    choice = {"type": "query", "datasource": _SOURCE, "includeAll": True, "multi": True, "refresh": 2, "allValue": ".*"}
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {"name": "job", "label": "Job", "query": f"label_values({ready}, job)", **choice},
        {"name": "instance", "label": "Process", "query": f'label_values({ready}{{job=~"$job"}}, instance)', **choice},
    ]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "gridPos": place, "panels": []})
        top += 1
        for index, panel in enumerate(row.panels):
            x, y = index * _WIDTH % _COLUMNS, top + index * _WIDTH // _COLUMNS * _HEIGHT
            panels.append(_panel(panel, len(panels) + 1, {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT}))
        top += -(-len(row.panels) * _WIDTH // _COLUMNS) * _HEIGHT
    return panels


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": line.expression, "legendFormat": line.legend}
            for at, line in enumerate(panel.lines)
        ],
    }
