"""A data directory that was first served with its own event log, and then with Kafka."""

import time
from pathlib import Path

import httpx
import pytest

from tests.harness.broker import Kafka
from tests.harness.server import Server
from tests.harness.topics import require_real_broker

METER = {"slug": "calls", "eventType": "call", "aggregation": "COUNT"}
EVENT = '{"specversion":"1.0","id":"%d","source":"s","type":"call","subject":"u"}'


@pytest.mark.parametrize("step", ["ingest.before-plan", "ingest.after-plan", "ingest.after-insert"])
def test_events_answered_204_before_the_change_to_kafka_are_usage_after_it(
    tmp_path: Path, broker: Kafka, step: str
) -> None:
    """Otherwise these events would never be read."""
    before = Server(tmp_path)
    before.start()
    assert httpx.post(f"{before.url}/api/v1/meters", json=METER).status_code == 201
    assert before.terminate() == 0
    before.start(step)
    body = f"[{','.join(EVENT % number for number in range(50))}]"
    headers = {"content-type": "application/cloudevents-batch+json"}
    answer = httpx.post(f"{before.url}/api/v1/events", content=body, headers=headers)
    assert answer.status_code == 204
    assert before.wait_for_death(60)

    after = Server(
        tmp_path,
        variables={
            "METERPORT_KAFKA__BROKERS": require_real_broker(broker).bootstrap,
            "METERPORT_KAFKA__TOPIC": f"left-{step}",
        },
    )
    after.start()
    try:
        assert _usage(after) == 50
    finally:
        assert after.terminate() == 0


def _usage(server: Server) -> int:
    """Wait up to a minute for usage, and return it."""
    deadline = time.monotonic() + 60
    while True:
        data = httpx.get(f"{server.url}/api/v1/meters/calls/query").json()["data"]
        if data or time.monotonic() > deadline:
            return int(data[0]["value"]) if data else 0
        time.sleep(0.1)
