"""Take the picture of the dashboard in docs/operations.md again: python -m tests.dashboard_picture (five minutes).

A process with Kafka meters events for four minutes, and a Prometheus scrapes it every second. In the middle the broker
hangs for 15 seconds. The picture is that of a page of our own, because Grafana is not among the tools of this project:
it has the titles, the expressions, the units and the places of the dashboard.
"""

import html
import itertools
import math
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from deploy.monitoring.dashboard import ROWS, Line, Panel
from tests.harness.broker import Broker, create_topic
from tests.harness.prometheus import Prometheus
from tests.harness.server import Server
from tests.harness.topics import Topic
from tests.portal.browser import ROOT, chromium

OUT = ROOT / "docs" / "images" / "dashboard.png"
SECONDS, HANGS_AT, HANGS_FOR = 240, 130, 15
KEY = "the-picture-of-the-dashboard-1"
METER = '[{"slug": "tokens", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.tokens"}]'
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "15s"}
COLOURS = ("#3274d9", "#37872d", "#e02f44", "#ff780a", "#8f3bb8", "#0fa3a3", "#b8860b", "#555")
WIDTH, HEIGHT, LEFT = 400, 150, 52  # of a chart, in pixels; its axis is to the left
STYLE = """
body { margin: 0; padding: 14px; width: 1300px; background: #f4f5f5; color: #24292e; font: 12px/1.4 sans-serif }
h2 { margin: 10px 2px 6px; font-size: 14px } main { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px }
section { padding: 8px 10px; background: #fff; border: 1px solid #e3e5e8; border-radius: 3px }
h3 { margin: 0 0 4px; font-size: 12px }
p { margin: 2px 0 0; color: #555; font-size: 11px; height: 32px; overflow: hidden }
i { display: inline-block; width: 14px; height: 3px; margin: 0 4px 3px 8px } text { font-size: 10px; fill: #666 }
"""
Series = tuple[str, list[tuple[float, float]]]


def main() -> None:
    """Run the process, and take the picture."""
    with tempfile.TemporaryDirectory() as directory:
        broker = Broker(Path(directory) / "kafka")
        broker.start()
        try:
            page = _metered(Path(directory), broker)
        finally:
            broker.kill()
    with chromium() as browser:
        opened = browser.new_page(viewport={"width": 1328, "height": 900})
        opened.set_content(page)
        opened.screenshot(path=OUT, full_page=True)
    sys.stdout.write(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size} bytes\n")


def _metered(directory: Path, broker: Broker) -> str:
    topic = Topic(broker.bootstrap, 4)
    create_topic(broker.bootstrap, topic.name, topic.partitions)
    variables = {
        "METERPORT_KAFKA__BROKERS": broker.bootstrap,
        "METERPORT_KAFKA__TOPIC": topic.name,
        "METERPORT_KAFKA__GROUP": topic.name,
        "METERPORT_SERVER__TELEMETRY_PORT": "0",
        "METERPORT_API_KEY": KEY,
        "METERPORT_METERS": METER,
    }
    with Server(directory / "serve", variables=variables) as server:
        server.start()
        assert server.url is not None
        with Prometheus(directory, [server.telemetry_url()]) as prometheus:
            began = time.time()
            threads = [threading.Thread(target=work, args=(server.url, began)) for work in (_send, _ask, _err)]
            for thread in threads:
                thread.start()
            _garbage(topic, began)
            _wait_until(began + HANGS_AT)
            broker.stop_signal()
            _wait_until(began + HANGS_AT + HANGS_FOR)
            broker.continue_()
            for thread in threads:
                thread.join()
            return _page(prometheus, began + 20, time.time())


def _wait_until(instant: float) -> None:
    while (left := instant - time.time()) > 0:
        sys.stdout.write(f"\r{left:4.0f} s ")
        sys.stdout.flush()
        time.sleep(min(left, 1))


def _turns(began: float, pause: float) -> Iterator[int]:
    """Yield numbers until the time is over, with a pause after each."""
    for number in itertools.count():
        if time.time() > began + SECONDS:
            return
        yield number
        time.sleep(pause)


def _send(url: str, began: float) -> None:
    """Send batches whose size rises and falls. One event in thirty is sent twice."""
    media = {"Content-Type": "application/cloudevents-batch+json", "Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=url, headers=media, timeout=60) as client:
        for number in _turns(began, 0.2):
            size = round(30 + 25 * math.sin((time.time() - began) / 25))
            events = [
                {
                    "specversion": "1.0",
                    "id": f"{number - (index % 30 == 0)}-{index}",
                    "source": "picture",
                    "type": "prompt",
                    "subject": f"customer-{index % 7}",
                    "data": {"tokens": index},
                }
                for index in range(size)
            ]
            client.post("/api/v1/events", json=events)


def _ask(url: str, began: float) -> None:
    """Ask as customers' pages do, and as a backend does."""
    with httpx.Client(base_url=url, timeout=60) as client:
        key = {"Authorization": f"Bearer {KEY}"}
        made = client.post("/api/v1/portal/tokens", json={"subject": "customer-1"}, headers=key).json()
        token = {"Authorization": f"Bearer {made['token']}"}
        for number in _turns(began, 0.15):
            client.get("/api/v1/portal/meters/tokens/query?windowSize=HOUR", headers=token)
            if number % 3 == 0:
                client.get("/api/v1/meters/tokens/query?groupBy=subject", headers=key)


def _err(url: str, began: float) -> None:
    """Make mistakes: a wrong key, a meter that does not exist."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in _turns(began, 2):
            client.get("/api/v1/meters", headers={"Authorization": "Bearer wrong"})
            client.get("/api/v1/meters/none/query", headers={"Authorization": f"Bearer {KEY}"})


def _garbage(topic: Topic, began: float) -> None:
    """Put records that are no events into the topic."""
    _wait_until(began + 60)
    topic.put(*[b"{"] * 5)


def _page(prometheus: Prometheus, start: float, end: float) -> str:
    parts = [f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>"]
    for row in ROWS:
        panels = "".join(_section(prometheus, panel, start, end) for panel in row.panels)
        parts.append(f"<h2>{html.escape(row.title)}</h2><main>{panels}</main>")
    return "".join(parts)


def _section(prometheus: Prometheus, panel: Panel, start: float, end: float) -> str:
    found = [series for line in panel.lines for series in _series(prometheus, line, start, end)]
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{html.escape(label)}</span>'
        for colour, (label, _) in zip(itertools.cycle(COLOURS), found, strict=False)
    )
    return (
        f"<section><h3>{html.escape(panel.title)}</h3>{_chart(found, panel.unit, start, end)}<p>{legend}</p></section>"
    )


def _series(prometheus: Prometheus, line: Line, start: float, end: float) -> Iterator[Series]:
    expression = line.expression
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    for found in prometheus.evaluate_range(expression, start, end, 2):
        label = line.legend
        for name, value in found["metric"].items():
            label = label.replace("{{" + name + "}}", value)
        points = [(float(at), float(value)) for at, value in found["values"] if math.isfinite(float(value))]
        if points:
            yield re.sub(r"{{\w+}}", "", label), points  # as Grafana writes a label that the series does not have


def _chart(found: Sequence[Series], unit: str, start: float, end: float) -> str:
    most = max((value for _, points in found for _, value in points), default=0) or 1
    step = 10 ** math.floor(math.log10(most))
    top = next(step * factor for factor in (1, 2, 5, 10) if step * factor >= most)
    lines = [
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}" stroke="#eceef0"/><text x="{LEFT - 6}" y="{y + 3}" '
        f'text-anchor="end">{_written(top * share, unit)}</text>'
        for share in (0, 0.5, 1)
        for y in [HEIGHT - 12 - share * (HEIGHT - 24)]
    ]
    right, up = (WIDTH - LEFT) / (end - start), (HEIGHT - 24) / top  # pixels for each unit
    for colour, (_, points) in zip(itertools.cycle(COLOURS), found, strict=False):
        path = " ".join(f"{LEFT + (at - start) * right:.1f},{HEIGHT - 12 - value * up:.1f}" for at, value in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
    return f'<svg width="{WIDTH}" height="{HEIGHT}">{"".join(lines)}</svg>'


def _written(value: float, unit: str) -> str:
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:,.6g}{' s' if unit == 's' and value else ''}"


if __name__ == "__main__":
    main()
