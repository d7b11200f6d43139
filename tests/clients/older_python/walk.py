"""Call a server with OpenMeter's Python client of 2024, built on azure-core: python walk.py BASE_URL API_KEY.

Print what it saw as one JSON object, which the test checks.
"""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import HttpResponseError
from openmeter import Client

base_url, key = sys.argv[1:]
client: Any = Client(endpoint=base_url, headers={"Authorization": f"Bearer {key}"})
seen: dict[str, Any] = {}


def failure(call: Any, *arguments: Any, **named: Any) -> str:
    try:
        call(*arguments, **named)
    except HttpResponseError as error:
        return str(error)
    return "no error"


meter = {
    "slug": "older_py",
    "eventType": "older-prompt",
    "aggregation": "SUM",
    "valueProperty": "$.tokens",
    "groupBy": {"model": "$.model"},
    "windowSize": "MINUTE",
}
seen["created"] = client.create_meter(meter)["slug"]
event = {"source": "older", "specversion": "1.0", "type": "older-prompt", "subject": "acme"}
at = datetime.now(UTC).isoformat()
client.ingest_events({**event, "id": "good", "time": at, "data": {"tokens": 3, "model": "a"}})
client.ingest_events({**event, "id": "bad", "time": at, "data": {"model": "a"}})
for _ in range(100):
    listed = client.list_events(subject="acme")
    if len(listed) == 2:
        break
    time.sleep(0.1)
seen["listed"] = sorted([item["event"]["id"], item.get("validationError", "")] for item in listed)
seen["with_error"] = sorted(item["event"]["id"] for item in client.list_events(subject="acme", has_error=True))
usage = client.query_meter("older_py", subject=["acme"], group_by=["model"])
seen["usage"] = [[row["subject"], row["groupBy"], row["value"]] for row in usage["data"]]
seen["missing"] = failure(client.get_meter, "nothing_here")
seen["refused"] = failure(client.ingest_events, {**event, "id": "", "data": {"tokens": 3}})
print(json.dumps(seen))  # noqa: T201
