"""Processes whose store is a ClickHouse over HTTP: they meter events, and what one has stored holds for the others."""

import itertools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from engine.errors import Unauthorized
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from meterport.process import Process
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.own_clickhouse import server
from tests.harness.server import Server
from tests.harness.topics import wait_for

__all__ = ["server"]  # a fixture of another file

_numbers = itertools.count()


def test_a_process_on_a_server_takes_events_and_answers(server: ClickHouse, tmp_path: Path) -> None:
    variables = {
        "METERPORT_STORE__URL": server.url,
        "METERPORT_STORE__DATABASE": "served",
        "METERPORT_PORTAL__TOKEN_KEYS": '["0123456789abcdef0123"]',
    }
    meterport = Server(tmp_path, variables=variables)
    meterport.start()
    try:
        with httpx.Client(base_url=f"{meterport.url}/api/v1", timeout=30) as client:
            meter = {"slug": "tokens", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.tokens"}
            client.post("/meters", json=meter).raise_for_status()
            for number in range(10):
                event = {"specversion": "1.0", "id": str(number), "source": "s", "type": "prompt", "subject": "acme"}
                body = json.dumps(event | {"data": {"tokens": 1.5}})
                client.post("/events", content=body, headers={"Content-Type": "application/cloudevents+json"})
            token = client.post("/portal/tokens", json={"subject": "acme"}).json()["token"]
            asked = {"Authorization": f"Bearer {token}"}

            def total() -> float:
                [row] = client.get("/portal/meters/tokens/query", headers=asked).json()["data"] or [{"value": 0}]
                return float(row["value"])

            _wait_until(lambda: total() == 15)
    finally:
        assert meterport.terminate() == 0
    assert not (tmp_path / "data" / "store").exists()


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class BusyRegistry(MeterRegistry):
    """A registry that, once it is busy, never finishes reading its many meters."""

    def __init__(self, store: Store) -> None:
        self.looks, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        super().__init__(store)

    def refresh(self) -> None:
        super().refresh()
        if not self.idle.is_set():
            self.looks.set()
            self.idle.wait()


def test_a_process_honours_a_revocation_however_busy_its_registry(server: ClickHouse, tmp_path: Path) -> None:
    """Contract 1.2: two processes share one store."""
    database = f"revoked_{next(_numbers)}"
    one, other = (Process(server_settings(server.url, tmp_path / name, database=database)) for name in ("one", "other"))
    other.registry = busy = BusyRegistry(other.store)
    try:
        for service in (one, other):
            service.start()
        record, token = one.tokens.create("customer-1", None, None)
        other.tokens.verify(token)
        busy.idle.clear()
        assert busy.looks.wait(30)

        one.tokens.invalidate(record.id, None)

        assert wait_for(lambda: _is_revoked(other, token)) < 10  # within a second on a machine that is not busy
    finally:
        busy.idle.set()
        for service in (one, other):
            service.stop()


def _is_revoked(service: Process, token: str) -> bool:
    try:
        service.tokens.verify(token)
    except Unauthorized as refusal:
        return str(refusal) == "invalid token: revoked"
    return False


def test_processes_that_start_at_once_make_a_configured_meter_once(server: ClickHouse, tmp_path: Path) -> None:
    """As in a deployment: several processes start on an empty store with the same meters in their settings."""
    meters = [{"slug": f"m{at}", "eventType": "call", "aggregation": "COUNT"} for at in range(3)]
    database = f"started_{next(_numbers)}"
    services = [
        Process(server_settings(server.url, tmp_path / name, database=database).model_copy(update={"meters": meters}))
        for name in ("one", "other", "third")
    ]
    together = threading.Barrier(len(services), timeout=30)

    def start(service: Process) -> None:
        together.wait()
        service.start()

    try:
        with ThreadPoolExecutor(len(services)) as threads:
            for started in [threads.submit(start, service) for service in services]:
                started.result()
        made = MeterRegistry(services[0].store).all()
    finally:
        for service in services:
            service.stop()

    assert sorted(meter.slug for meter in made) == ["m0", "m1", "m2"]
