"""The time from producing an event to Kafka until a portal query counts it, while 5,000 other events arrive a second.

A real `meterport serve` runs in its own process, with five meters. A probe event is produced, and the portal is queried
until it is counted. For comparison, the time of that query alone is measured: nothing can be faster.
"""

import statistics
import threading
import time

import httpx
from confluent_kafka import Producer

from benchmarks import world
from tests.harness.broker import Kafka
from tests.harness.chosen_broker import choose_broker
from tests.harness.server import Server

RATE = 5_000
PROBES = 200
PAUSE_SECONDS = 0.1
TOPIC = "live"
_TICK_SECONDS = 0.02


class Traffic:
    """Produces events of other customers at a steady rate, until its context ends."""

    def __init__(self, broker: Kafka) -> None:
        self.sent = 0
        self._producer = Producer(
            {"bootstrap.servers": broker.bootstrap, "linger.ms": 5, "acks": "all", "log_level": 0}
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(_TICK_SECONDS):
            due = int((time.monotonic() - began) * RATE)
            for number in range(self.sent, due):
                subject = f"customer-{number % 1000}"
                self._producer.produce(TOPIC, event(f"t{number}", subject), subject)
            self.sent = due
            self._producer.poll(0)


def run(events: int) -> list[str]:  # noqa: ARG001 - this benchmark has a rate, not a number of events
    """Measure and return the lines to print."""
    with world.scratch() as directory, choose_broker(directory / "kafka") as broker:
        broker.create_topic(TOPIC, 12)
        variables = {"METERPORT_KAFKA__BROKERS": broker.bootstrap, "METERPORT_KAFKA__TOPIC": TOPIC}
        server = Server(directory, variables=variables)
        server.start()
        try:
            return _measure(server, broker)
        finally:
            server.terminate()


def _measure(server: Server, broker: Kafka) -> list[str]:
    with httpx.Client(base_url=str(server.url), timeout=30) as client, Traffic(broker) as traffic:
        _create_meters(client)
        token = client.post("/api/v1/portal/tokens", json={"subject": "probe"}).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        _wait(client, 0)
        time.sleep(5)  # until the rollups answer and the rate is steady
        began, sent = time.monotonic(), traffic.sent
        probes = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0, "log_level": 0})
        times = [_visible(client, probes, number) for number in range(1, PROBES + 1)]
        rate = (traffic.sent - sent) / (time.monotonic() - began)
        query = statistics.median(_wait(client, PROBES) for _ in range(PROBES))
    cuts = statistics.quantiles(times, n=100)
    return [
        f"{statistics.median(times) / query:.1f} times the time of a query until a probe is counted (median)",
        f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms from produce to portal at {rate:,.0f} events/s; "
        "the aim is a p99 under 1000 ms",
        f"the portal query alone: {query * 1000:.1f} ms median",
    ]


def _create_meters(client: httpx.Client) -> None:
    for body in world.METERS:
        client.post("/api/v1/meters", json=body).raise_for_status()


def _visible(client: httpx.Client, producer: Producer, number: int) -> float:
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    producer.produce(TOPIC, event(f"probe-{number}", "probe"), "probe")
    producer.poll(0)
    _wait(client, number)
    return time.perf_counter() - began


def _wait(client: httpx.Client, count: int) -> float:
    """Query the portal until it counts `count` probes. Return the seconds that the last query took."""
    while True:
        began = time.perf_counter()
        rows = client.get("/api/v1/portal/meters/requests/query").json()["data"]
        if sum(row["value"] for row in rows) >= count:
            return time.perf_counter() - began


def event(id_: str, subject: str) -> bytes:
    """Return an event that the meters count. It has no time: the time of the Kafka record is used."""
    return (
        f'{{"specversion":"1.0","id":"{id_}","source":"live","type":"prompt","subject":"{subject}",'
        f'"data":{{"tokens":7,"ms":2.5,"model":"m1","kind":"k1"}}}}'
    ).encode()
