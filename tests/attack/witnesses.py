"""Well-behaved clients during an attack: they send events, query usage, revoke tokens and ask for the health.

Owns: the threads of these clients, and what each of them saw. Like a real producer, the producer here sends an event
until it is accepted. In the end each of its events must be counted once.
"""

import itertools
import threading
import time
from abc import abstractmethod
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx

BATCH_TYPE = "application/cloudevents-batch+json"
BATCHES_A_SECOND = 10
TENANT = "acme"


class Witness(threading.Thread):
    """A client that repeats its step until `finish` is called. `finish` raises what a step raised."""

    def __init__(self, url: str, pause_seconds: float, key: str | None = None) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.url = url
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(headers=self.headers, timeout=30)
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._error: BaseException | None = None

    @abstractmethod
    def step(self) -> None:
        """Do the work of this client once."""

    def run(self) -> None:
        try:
            due = time.monotonic()
            while not self._stopping.is_set():
                self.step()
                due = max(
                    due + self._pause_seconds, time.monotonic() - 1
                )  # after a delay it catches up for one second at most
                self._stopping.wait(due - time.monotonic())
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        """Wait for the current step and stop. Raises: the error of a step; AssertionError: the step does not end."""
        self._stopping.set()
        self.join(120)
        assert not self.is_alive(), f"{self.name} did not end within two minutes"
        self.client.close()
        if self._error:
            raise self._error


class Producer(Witness):
    """Sends events at a fixed rate, in ten batches a second. Each batch is sent until it is accepted."""

    def __init__(self, url: str, key: str, events_a_second: int) -> None:
        super().__init__(url, 1 / BATCHES_A_SECOND, key)
        self.accepted = 0  # events
        self.refusals: Counter[str] = Counter()
        self._size = events_a_second // BATCHES_A_SECOND
        self._numbers = itertools.count()

    def step(self) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = "[" + ",".join(self._event(next(self._numbers), at) for _ in range(self._size)) + "]"
        while True:
            try:
                answer = self.client.post(
                    f"{self.url}/api/v1/events", content=body, headers={"Content-Type": BATCH_TYPE}
                )
            except httpx.TransportError as error:
                self.refusals[type(error).__name__] += 1
            else:
                if answer.status_code == 204:
                    self.accepted += self._size
                    return
                self.refusals[str(answer.status_code)] += 1
            time.sleep(0.05)

    @staticmethod
    def _event(number: int, at: str) -> str:
        return (
            f'{{"specversion":"1.0","id":"{number}","source":"producer","type":"call","subject":"{TENANT}",'
            f'"time":"{at}","data":{{"tokens":{number % 1000},"model":"m{number % 5}"}}}}'
        )


class Dashboard(Witness):
    """The page of another tenant: it sends one query after another, every fourth over a new connection."""

    PATHS = (
        "/api/v1/portal/meters/calls/query?windowSize=DAY",
        "/api/v1/portal/meters/calls/query?windowSize=HOUR&groupBy=model",
        "/api/v1/portal/meters/calls/query?groupBy=model",
    )

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url, 0.2, token)
        self.milliseconds: list[float] = []
        self.failures: Counter[str] = Counter()
        self._numbers = itertools.count()

    def step(self) -> None:
        number = next(self._numbers)
        target = self.url + self.PATHS[number % len(self.PATHS)]
        started = time.perf_counter()
        try:
            client: Any = self.client if number % 4 else httpx
            answer = client.get(target, headers=self.headers, timeout=30)
        except httpx.TransportError as error:
            self.failures[type(error).__name__] += 1
            return
        if answer.status_code == 200:
            self.milliseconds.append((time.perf_counter() - started) * 1000)
        else:
            self.failures[str(answer.status_code)] += 1


class Revoker(Witness):
    """Creates a token, uses it, revokes it, and measures how long it still works."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, 2, key)
        self.seconds: list[float] = []
        self.failures: Counter[str] = Counter()
        self.client.base_url = httpx.URL(url)

    def step(self) -> None:
        try:
            token = self.client.post("/api/v1/portal/tokens", json={"subject": TENANT}).raise_for_status().json()
            bearer = {"Authorization": f"Bearer {token['token']}"}
            self.client.get("/api/v1/portal/meters", headers=bearer).raise_for_status()
            self.client.post("/api/v1/portal/tokens/invalidate", json={"id": token["id"]}).raise_for_status()
            revoked = time.monotonic()
            while self.client.get("/api/v1/portal/meters", headers=bearer).status_code != 401:
                time.sleep(0.02)
        except httpx.HTTPStatusError as error:
            self.failures[str(error.response.status_code)] += 1
        except httpx.TransportError as error:
            self.failures[type(error).__name__] += 1
        else:
            self.seconds.append(time.monotonic() - revoked)


class HealthProbe(Witness):
    """Requests `/readyz` four times a second, each time over a new connection, as an orchestrator does."""

    def __init__(self, telemetry_url: str) -> None:
        super().__init__(telemetry_url, 0.25)
        self.answers: Counter[str] = Counter()

    def step(self) -> None:
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=10)
        except httpx.TransportError as error:
            self.answers[type(error).__name__] += 1
        else:
            self.answers[_ending(answer)] += 1


def _ending(answer: httpx.Response) -> str:
    """Return the status of an answer, with the reason that it gives if it is not 200."""
    if answer.status_code == 200:
        return "200"
    body = answer.json()
    return f"{answer.status_code} {body.get('code') or body.get('detail') or answer.text[:200]}"
