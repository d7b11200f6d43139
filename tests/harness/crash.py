"""The crash harness: it kills a real `meterport serve` at random times and at fault points, and then checks the usage.

A producer sends batches over HTTP and creates meters. A request without an answer is sent again, with the same ids, as
soon as the process is back. In the end every event was accepted at least once, and every meter must equal the fold in
plain Python, which counts each event once. It runs on loopback only, with a limit on the kills and the time.
"""

import json
import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from engine.faults import POINTS
from tests.harness import oracle
from tests.harness.server import SERVE, Server
from tests.harness.translation import cloudevent, definition_body, rows

_ZONE = "America/New_York"
_INTERVAL_SECONDS = 0.5  # most of the processor time is that of the blocks, and a kill needs one block to meet
METERS = [
    oracle.Meter("calls", "call", "COUNT", None, {"model": "$.model"}),
    oracle.Meter("tokens", "call", "SUM", "$.tokens", {"model": "$.model", "kind": "$.kind"}),
    oracle.Meter("mean_tokens", "call", "AVG", "$.tokens"),
    oracle.Meter("smallest", "call", "MIN", "$.tokens", {"kind": "$.kind"}),
    oracle.Meter("largest", "call", "MAX", "$.tokens"),
    oracle.Meter("models", "call", "UNIQUE_COUNT", "$.model", {"kind": "$.kind"}),
    oracle.Meter("last_tokens", "call", "LATEST", "$.tokens"),
]


@dataclass
class Producer:
    """Sends batches of events until `stop` is set. Each batch is sent again until it is accepted."""

    server: Server
    seed: int
    meters: Sequence[oracle.Meter]
    batch_events: int = 100
    pause_seconds: float = 0.2
    accepted: list[oracle.Event] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        self.stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the producer could not finish its last batch"
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            with httpx.Client(timeout=30) as client:
                for index, batch in enumerate(_batches(self.seed, self.batch_events)):
                    if index % 5 == 0 and index // 5 < len(self.meters):
                        body = json.dumps(definition_body(self.meters[index // 5])).encode()
                        self._send(client, "/api/v1/meters", "application/json", body, {201, 409})
                    body = b"[" + b",".join(cloudevent(event) for event in batch) + b"]"
                    self._send(client, "/api/v1/events", "application/cloudevents-batch+json", body, {204})
                    self.accepted += batch
                    time.sleep(self.pause_seconds)
                    if self.stop.is_set() and index // 5 >= len(self.meters):
                        return
        except BaseException as error:
            self.error = error

    def _send(self, client: httpx.Client, path: str, kind: str, body: bytes, wanted: set[int]) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            url = self.server.url
            if url is not None:
                try:
                    answer = client.post(url + path, content=body, headers={"content-type": kind})
                except httpx.TransportError:
                    pass
                else:
                    if answer.status_code in wanted:
                        return
                    assert answer.status_code == 503, answer.text
            time.sleep(0.02)
        raise AssertionError(f"{path} was not accepted within three minutes")


def _batches(seed: int, size: int) -> Iterator[list[oracle.Event]]:
    """Yield batches of events over four days around a clock change, with duplicates and unusual values."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    sent: list[oracle.Event] = []
    number = 0
    while True:
        batch = []
        for _ in range(size):
            if sent and chance.random() < 0.05:
                batch.append(chance.choice(sent))
                continue
            number += 1
            second = 1_761_980_000 + chance.randrange(4 * 86_400)
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{chance.randrange(1000):03d}Z"
            value = chance.choice(["1", "2.5", '"0.1"', "-3", "null", '"abc"', "1e3", str(chance.randrange(10**18))])
            data = f'{{"tokens":{value},"model":"m{chance.randrange(5)}","kind":"{chance.choice(["in", "out"])}"}}'
            batch.append(oracle.Event(f"{seed}-{number}", "harness", "call", f"u{chance.randrange(6)}", at, data))
        sent = (sent + batch)[-2000:]
        yield batch


def run(
    directory: Path,
    kills: int,
    seed: int,
    faults: Sequence[str] = POINTS,
    command: Sequence[str] = SERVE,
    meters: Sequence[oracle.Meter] = METERS,
) -> int:
    """Kill the server `kills` times, alternately once at each fault point and as often at random times.

    Returns: how many distinct events were sent.
    Raises: AssertionError: a meter differs from the fold, or an event was lost.
    """
    chance = random.Random(seed)  # noqa: S311
    server = Server(directory, command, {"METERPORT_INGEST__INTERVAL_SECONDS": str(_INTERVAL_SECONDS)})
    producer = Producer(server, seed, meters)
    producer.start()
    try:
        for kill in range(kills):
            point = faults[kill % (2 * len(faults))] if kill % (2 * len(faults)) < len(faults) else ""
            server.start(f"{point}:{chance.randrange(1, 4)}" if point else "")
            if not point or not server.wait_for_death(3):
                time.sleep(chance.uniform(0, 1.0))
                server.kill()
        server.start()
        producer.finish()
        assert server.url is not None
        check(server.url, producer.accepted, meters)
        assert server.terminate() == 0, server.tail()
    finally:
        producer.stop.set()
        server.kill()
    return len(oracle.deduplicate(producer.accepted))


def check(url: str, accepted: list[oracle.Event], meters: Sequence[oracle.Meter]) -> None:
    """Check that every meter equals the fold of the accepted events. Raises: AssertionError."""
    fold = oracle.Fold()
    for event in accepted:
        fold.add(event)
    with httpx.Client(base_url=url, timeout=60) as client:
        _wait_until_stored_and_filled(client, len(meters))
        for meter in meters:
            for query in _queries(meter):
                parameters: dict[str, str | list[str]] = {"groupBy": list(query.group_by)}
                if query.window_size:
                    parameters |= {"windowSize": query.window_size, "windowTimeZone": query.zone}
                answer = client.get(f"/api/v1/meters/{meter.slug}/query", params=parameters)
                assert answer.status_code == 200, answer.text
                assert "raw" not in answer.headers["x-meterport-grains"]
                got = rows(json.dumps(json.loads(answer.text, parse_float=str, parse_int=str)["data"]).encode())

                expected = fold.usage(meter, query)
                wrong = sorted(set(got) ^ set(expected), key=lambda row: (row.window_start, row.subject or ""))
                assert got == expected, f"{meter.slug} {query}: {len(wrong)} rows differ: {wrong[:4]}"


def _queries(meter: oracle.Meter) -> list[oracle.Query]:
    """Return one query for each grain: minutes, quarter hours, days."""
    return [
        oracle.Query(window_size="MINUTE", group_by=("subject", *meter.group_by)),
        oracle.Query(window_size="DAY", zone=_ZONE, group_by=("subject",)),
        oracle.Query(),
    ]


def _wait_until_stored_and_filled(client: httpx.Client, meters: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        metrics = client.get("/metrics").text
        lag = re.search(r"^meterport_log_records (\S+)", metrics, re.MULTILINE)
        filling = re.findall(r'^meterport_meters\{state="(?:creating|settling|filling)"\} (\S+)', metrics, re.MULTILINE)
        ready = re.search(r'^meterport_meters\{state="ready"\} (\S+)', metrics, re.MULTILINE)
        if lag and float(lag[1]) == 0 and not any(map(float, filling)) and ready and float(ready[1]) == meters:
            return
        time.sleep(0.1)
    raise AssertionError("within two minutes the event log was not stored, or a meter was not filled")
