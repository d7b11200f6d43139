"""Send a month of usage for one customer, to look at in the portal: meter `tokens`, subject `acme`.

Run it while `make run` is running: .venv/bin/python examples/sample_usage.py. A second run on the same day adds
nothing, because its events have the same ids. It takes no arguments. METERPORT_URL is the server
(http://127.0.0.1:8888), and METERPORT_API_KEY is the server's management key, if it has one.
"""

import argparse
import os
from datetime import UTC, datetime, timedelta

import httpx

METER = {
    "slug": "tokens",
    "name": "Tokens",
    "description": "Tokens of prompts and completions",
    "eventType": "prompt",
    "aggregation": "SUM",
    "valueProperty": "$.tokens",
    "groupBy": {"model": "$.model"},
}
MODELS = ("atlas-large", "atlas-small", "vision")


def main() -> None:
    """Send the sample, or say in one line why it cannot be sent."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    url = os.environ.get("METERPORT_URL", "http://127.0.0.1:8888")
    try:
        _send(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SystemExit(f"cannot send to {url}: {error}") from None


def _send(url: str) -> None:
    """Create the meter and send the events."""
    key = os.environ.get("METERPORT_API_KEY")
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"} if key else {}) as client:
        answer = client.post("/api/v1/meters", json=METER)
        if answer.status_code not in {201, 409}:
            raise SystemExit(answer.text)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        batch = [_event(today - timedelta(days=days), hour) for days in range(31) for hour in range(24)]
        started = [event for event in batch if str(event["time"]) <= datetime.now(UTC).isoformat()]
        kind = {"Content-Type": "application/cloudevents-batch+json"}
        client.post("/api/v1/events", json=started, headers=kind).raise_for_status()
        print(f"{len(started)} events of customer acme")


def _event(day: datetime, hour: int) -> dict[str, object]:
    at = day + timedelta(hours=hour, minutes=7 * hour % 60)
    weekend = 0.4 if at.weekday() > 4 else 1
    tokens = weekend * (900 + 700 * (8 <= hour <= 18) + (at.day * 131 + hour * 17) % 400)
    return {
        "specversion": "1.0", "id": f"sample-{at:%Y%m%d%H}", "source": "sample", "type": "prompt", "subject": "acme",
        "time": at.isoformat(), "data": {"tokens": f"{tokens:.1f}", "model": MODELS[(hour + at.day) % 3]},
    }  # fmt: skip


if __name__ == "__main__":
    main()
