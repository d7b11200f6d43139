"""Environment variables that are meant for other programs do not keep a server from starting (like N1)."""

import json
from pathlib import Path

import httpx
import pytest

from tests.harness.raw_http import eventually
from tests.harness.server import Server

FOREIGN = {
    "Kubernetes": {"METERPORT_PORT": "tcp://10.0.0.1:8888", "METERPORT_SERVICE_HOST": "10.0.0.1"},
    "a number of workers that is none": {"WEB_CONCURRENCY": "auto"},
    "a zone nobody knows": {"TZ": "Foo/Bar"},
    "a zone as POSIX writes it": {"TZ": "<+03>-3"},
}


@pytest.mark.parametrize("variables", FOREIGN.values(), ids=FOREIGN)
def test_a_server_answers_whatever_others_have_set(tmp_path: Path, variables: dict[str, str]) -> None:
    """Regression: uvicorn read WEB_CONCURRENCY and chDB read TZ, and the process ended with a traceback."""
    with Server(tmp_path, variables=variables) as server:
        server.start()

        answer = httpx.get(f"{server.url}/readyz")

        assert server.terminate() == 0
    assert answer.json() == {"status": "ok"}


ZONES = ("UTC", "Asia/Kolkata", "America/New_York")
QUERY = "/api/v1/meters/tokens/query"


def test_usage_is_the_same_whatever_zone_the_host_is_in(tmp_path: Path) -> None:
    """N34: one data directory gives the same bytes under different values of TZ."""
    meter = {"slug": "tokens", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.tokens"}
    times = ["2026-03-07T23:59:59.999Z", "2026-03-08T00:00:00Z", "2026-03-08T06:59:59Z", "2026-03-08T18:30:00+05:30"]
    events = [
        {
            "specversion": "1.0",
            "id": str(n),
            "source": "s",
            "type": "prompt",
            "subject": "a",
            "time": time,
            "data": data,
        }
        for n, (time, data) in enumerate(zip(times, [{"tokens": 10**n} for n in range(4)], strict=True))
    ]
    questions = [
        {"windowSize": size, "windowTimeZone": zone, "from": "2026-03-01T00:00:00Z", "to": "2026-03-31T00:00:00Z"}
        for size in ("MINUTE", "HOUR", "DAY", "MONTH")
        for zone in (*ZONES, "Pacific/Apia")
    ]
    answers = []
    for zone in ZONES:
        with Server(tmp_path, variables={"TZ": zone}) as server:
            server.start()
            with httpx.Client(base_url=str(server.url), timeout=60) as client:
                if zone == "UTC":
                    assert client.post("/api/v1/meters", json=meter).status_code == 201
                    assert client.post("/api/v1/events", json=events).status_code == 204
                    eventually(lambda: _total(client) == 1111, "all is counted")
                answers.append([client.get(QUERY, params=question).content for question in questions])
                answers[-1].append(client.get(QUERY, params=questions[0], headers={"Accept": "text/csv"}).content)
            assert server.terminate() == 0

    days = [json.loads(answer)["data"] for answer in answers[0][8:12]]
    assert [[(row["windowStart"], row["value"]) for row in rows] for rows in days[:3]] == [
        [("2026-03-07T00:00:00Z", 1), ("2026-03-08T00:00:00Z", 1110)],
        [("2026-03-08T00:00:00+05:30", 1111)],
        [("2026-03-07T00:00:00-05:00", 11), ("2026-03-08T00:00:00-05:00", 1100)],
    ]
    assert answers[1] == answers[0]
    assert answers[2] == answers[0]


def _total(client: httpx.Client) -> float:
    return float(sum(row["value"] for row in client.get(QUERY).json()["data"]))
