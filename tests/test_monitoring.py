"""The alert rules and the dashboard are built from the metrics, and a real Prometheus finds data for each panel."""

import json
import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from deploy.monitoring.__main__ import DEPLOY, FILES
from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.dashboard import ROWS
from tests.harness.broker import Kafka
from tests.harness.prometheus import Prometheus
from tests.harness.server import Server
from tests.harness.services import available_or_skip
from tests.harness.topics import Topic, wait_for

EVENT = {"specversion": "1.0", "source": "tests", "type": "call", "subject": "acme"}
NOBODY = "http://127.0.0.1:1"  # where no process is
MEDIA = {"Content-Type": "application/cloudevents+json"}
# These panels show what must not happen or rarely does: without it, there are no series.
RARE = {"Connections that were ended, a second"}
PANELS = [panel for row in ROWS for panel in row.panels]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_the_files_are_those_that_are_built(path: Path) -> None:
    """Run `make monitoring` and commit what changes."""
    assert path.read_text(encoding="utf-8") == FILES[path]()


def test_the_dashboard_has_each_panel_once_and_none_on_another() -> None:
    panels = json.loads((DEPLOY / "dashboard.json").read_text(encoding="utf-8"))["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels) == len(PANELS) + len(ROWS)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.fixture(scope="module")
def server(broker: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    topic = Topic(broker.bootstrap, 1)
    variables = {
        "METERPORT_KAFKA__BROKERS": broker.bootstrap,
        "METERPORT_KAFKA__TOPIC": topic.name,
        "METERPORT_KAFKA__GROUP": topic.name,
        "METERPORT_SERVER__TELEMETRY_PORT": "0",
        "METERPORT_METERS": '[{"slug": "calls", "eventType": "call", "aggregation": "COUNT"}]',
    }
    broker.create_topic(topic.name, topic.partitions)
    with Server(tmp_path_factory.mktemp("monitored"), variables=variables) as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Yield a Prometheus that has scraped the process while it metered and answered. Another process is down."""
    directory, rules = tmp_path_factory.mktemp("prometheus"), [DEPLOY / "alerts.yaml"]
    with available_or_skip(lambda: Prometheus(directory, [server.telemetry_url(), NOBODY], rules)) as prometheus:
        with httpx.Client(base_url=server.url or "", timeout=30) as client:

            def work() -> bool:
                """Send an event and ask for usage, so that every counter rises while Prometheus scrapes."""
                event = {**EVENT, "id": f"{next(numbers)}"}
                client.post("/api/v1/events", json=event, headers=MEDIA).raise_for_status()
                client.get("/api/v1/meters/calls/query").raise_for_status()
                return len(prometheus.evaluate("sum_over_time(up[1m]) >= 5")) > 0

            numbers = count()
            wait_for(work, server.tail)
        yield prometheus


def test_prometheus_has_data_for_each_line_of_the_dashboard(prometheus: Prometheus) -> None:
    chosen = {"$job": ".*", "$instance": ".*", "$__rate_interval": "30s"}
    empty = []
    for panel in PANELS:
        for line in panel.lines:
            expression = line.expression
            for variable, value in chosen.items():
                expression = expression.replace(variable, value)
            found = prometheus.evaluate(expression)
            if panel.title not in RARE and not any(math.isfinite(float(series["value"][1])) for series in found):
                empty.append((panel.title, expression))

    assert empty == []


def test_prometheus_evaluates_each_alert_and_none_fires(prometheus: Prometheus) -> None:
    assert prometheus.rules() == {alert.name: "ok" for alert in ALERTS}
    assert prometheus.evaluate('ALERTS{alertstate="firing"}') == []


def test_a_process_that_is_down_is_about_to_be_alerted(prometheus: Prometheus) -> None:
    """The alert is pending, and fires after two minutes."""
    down = prometheus.evaluate('ALERTS{alertname="MeterportDown",alertstate="pending"}')

    assert [each["metric"]["instance"] for each in down] == [NOBODY.removeprefix("http://")]
