"""A running server with the events of a customer, and the customer's usage, computed here from the events."""

import copy
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from tests.harness.server import Server

KEY = "portal-tests-management-key"
SUBJECT = "acme"
ZONE = "Europe/Berlin"
BEYOND = "9007199254740993"  # 2^53 + 1, which no double can hold
METERS: list[dict[str, object]] = [
    {
        "slug": "tokens",
        "name": "Tokens",
        "description": "Tokens of prompts and completions",
        "eventType": "prompt",
        "aggregation": "SUM",
        "valueProperty": "$.tokens",
        "groupBy": {"model": "$.model", "type": "$.type"},
    },
    {
        "slug": "calls",
        "name": "API calls",
        "eventType": "prompt",
        "aggregation": "COUNT",
        "groupBy": {"model": "$.model"},
    },
    {"slug": "idle", "name": "Idle", "eventType": "never", "aggregation": "SUM", "valueProperty": "$.x"},
    {
        "slug": "latency",
        "name": "Latency",
        "eventType": "prompt",
        "aggregation": "AVG",
        "valueProperty": "$.ms",
        "groupBy": {"model": "$.model"},
    },
]
Event = tuple[datetime, Mapping[str, Any]]


class Customer:
    """A server, a subject there, the events sent for it so far, and the usage that they must give."""

    def __init__(self, directory: Path, variables: Mapping[str, str] | None = None) -> None:
        self.server = Server(directory, variables={"METERPORT_API_KEY": KEY, **(variables or {})})
        self.server.start()
        self.url = str(self.server.url)
        self.subject = SUBJECT
        self.events: list[Event] = []
        self._ids = itertools.count()
        self._client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        for meter in METERS:
            self.create(meter)

    def another(self) -> "Customer":
        """Return another customer of the same server, without events. Only the first one closes the server."""
        other = copy.copy(self)
        other.subject = f"{SUBJECT}-{next(self._ids)}"
        other.events = []
        return other

    def create(self, meter: Mapping[str, object]) -> None:
        answer = self._client.post("/api/v1/meters", json=meter)
        assert answer.status_code == 201, answer.text

    @contextmanager
    def having(self, meter: Mapping[str, object]) -> Iterator[None]:
        """Have a meter until the context ends, because other tests share this customer."""
        self.create(meter)
        yield
        self.delete_meter(str(meter["slug"]))

    def wait_until_filled(self, slug: str) -> None:
        """Wait until a meter answers only from its rollup, which then has the events from before the meter."""
        for _ in range(600):
            answer = self._client.get(f"/api/v1/meters/{slug}/query", params={"subject": "nobody"})  # reads no row
            if "raw" not in answer.headers["X-Meterport-Grains"]:
                return
            time.sleep(0.2)
        raise AssertionError(f"{slug} is not filled after two minutes")

    def delete_meter(self, slug: str) -> None:
        assert self._client.delete(f"/api/v1/meters/{slug}").status_code == 204

    def close(self) -> None:
        self._client.close()
        if self.server.running:
            assert self.server.terminate() == 0, self.server.tail()

    def send(self, *events: Event, subject: str | None = None) -> None:
        """Send events, and wait until they are counted as usage. Those of another subject are not waited for."""
        batch = [
            {
                "specversion": "1.0", "id": str(next(self._ids)), "source": "tests", "type": "prompt",
                "subject": subject or self.subject, "time": at.isoformat(), "data": data,
            }
            for at, data in events
        ]  # fmt: skip
        kind = {"Content-Type": "application/cloudevents-batch+json"}
        assert self._client.post("/api/v1/events", json=batch, headers=kind).status_code == 204
        if subject is not None:
            return
        self.events += events
        for _ in range(200):
            answer = self._client.get("/api/v1/meters/calls/query", params={"subject": self.subject}).json()
            if answer["data"] and answer["data"][0]["value"] == len(self.events):
                return
            time.sleep(0.05)
        raise AssertionError("the events are not counted after ten seconds")

    def describe(self, **members: object) -> None:
        """Set members of the subject, such as its name or its current period."""
        answer = self._client.post("/api/v1/subjects", json=[{"key": self.subject, **members}])
        assert answer.status_code == 200, answer.text

    def token(self, **members: object) -> dict[str, Any]:
        answer = self._client.post("/api/v1/portal/tokens", json={"subject": self.subject, **members})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def revoke(self, token: Mapping[str, Any]) -> None:
        assert self._client.post("/api/v1/portal/tokens/invalidate", json={"id": token["id"]}).status_code == 204

    def csv(self, token: str, slug: str, **query: str) -> str:
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/csv"}
        return httpx.get(f"{self.url}/api/v1/portal/meters/{slug}/query", params=query, headers=headers).text

    def tokens_by(self, shape: str, *keys: str, **only: str) -> dict[tuple[str, ...], Decimal]:
        """Return the sums of tokens, by local time in a strftime format and by the values of `keys`."""
        sums: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
        for at, data in self.events:
            if all(data[key] == value for key, value in only.items()):
                local = at.astimezone(ZoneInfo(ZONE))
                sums[(local.strftime(shape), *(data[key] for key in keys))] += Decimal(data["tokens"])
        return dict(sums)


def a_month(now: datetime) -> list[Event]:
    """Return events of the last three weeks, with decimal sums that doubles cannot represent exactly."""
    events: list[Event] = []
    for days in range(21):
        for number in range(days % 5 + 1):
            at = now - timedelta(days=days, minutes=7 * number)
            model = ("atlas-large", "atlas-small", "vision")[(days + number) % 3]
            data = {"tokens": f"{days}.{number + 1}", "model": model, "type": "input", "ms": 100 + number}
            events.append((at, data))
    events.append((now - timedelta(days=3), {"tokens": BEYOND, "model": "vision", "type": "output", "ms": 7}))
    return events


def written(value: Decimal) -> str:
    """Return a decimal as the page writes it in English."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def now() -> datetime:
    """Return the current time without fractions of a second."""
    return datetime.now(UTC).replace(microsecond=0)
