"""Use the package that openapi-python-client generated, as an application: python walk.py FOLDER BASE_URL API_KEY.

Print what it saw as one JSON object, which the test checks.
"""

import importlib
import json
import pkgutil
import sys
import time
from datetime import UTC, datetime
from typing import Any

folder, base_url, key = sys.argv[1:]
sys.path.insert(0, folder)
client: Any = importlib.import_module("meterport_client")
modules = [found.name for found in pkgutil.walk_packages(client.__path__, "meterport_client.")]
for name in modules:
    importlib.import_module(name)
models: Any = importlib.import_module("meterport_client.models")
FROM, TO = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


def operation(name: str) -> Any:
    return importlib.import_module(f"meterport_client.api.{name}")


def event(id_: str, subject: str, model: str, tokens: int) -> Any:
    return models.Event.from_dict(
        {
            "id": id_,
            "source": "generated",
            "type": "generated-prompt",
            "subject": subject,
            "specversion": "1.0",
            "time": "2026-11-02T10:00:00Z",
            "data": {"tokens": tokens, "model": model},
        }
    )


def rows(usage: Any) -> list[list[Any]]:
    return [
        [row.subject, row.group_by.additional_properties, row.value, row.window_start.isoformat()] for row in usage.data
    ]


backend = client.AuthenticatedClient(base_url=base_url, token=key)
meter = models.MeterCreate.from_dict(
    {
        "slug": "generated_py",
        "name": "Tokens",
        "eventType": "generated-prompt",
        "aggregation": "SUM",
        "valueProperty": "$.tokens",
        "groupBy": {"model": "$.model"},
    }
)
seen: dict[str, Any] = {"modules": len(modules)}
seen["created"] = operation("meters.create_meter").sync(client=backend, body=meter).slug

ingest = operation("events.ingest_events").sync_detailed
many = [event("b", "acme", "small", 2), event("c", "other", "small", 4)]
seen["ingested"] = [
    ingest(client=backend, body=event("a", "acme", "large", 1)).status_code,
    ingest(client=backend, body=many).status_code,
]
query = operation("meters.query_meter").sync
grouped = {"client": backend, "group_by": ["subject", "model"], "from_": FROM, "to": TO}
for _ in range(100):
    usage = query("generated_py", **grouped)
    if len(usage.data) == 3:
        break
    time.sleep(0.1)
seen["grouped"] = rows(usage)


def filtered(key: str, **further: Any) -> Any:
    filters = models.QueryMeterFilterGroupBy.from_dict({key: "small"})
    return query("generated_py", client=backend, subject=["acme", "other"], filter_group_by=filters, **further)


seen["filtered"] = rows(filtered("filterGroupBy[model]", from_=FROM, to=TO))
seen["bare_key"] = filtered("model").to_dict()
advanced = {"model": {"$or": [{"$eq": "large"}, {"$like": "nothing%"}]}}
body = models.UsageQuery.from_dict({"windowSize": "DAY", "advancedMeterGroupByFilters": advanced})
seen["posted"] = rows(operation("meters.query_meter_by_post").sync("generated_py", client=backend, body=body))
seen["advanced"] = rows(
    query("generated_py", client=backend, advanced_meter_group_by_filters=json.dumps(advanced), from_=FROM, to=TO)
)

search = json.dumps({"type": {"$eq": "generated-prompt"}, "id": {"$in": ["b", "c"]}})
page = operation("events.search_events").sync(client=backend, filter_=search)
seen["searched"] = sorted(item.event.id for item in page.items)
listed = operation("events.list_events").sync(client=backend, subject="acme", from_=FROM, to=TO)
seen["listed"] = sorted([item.event.id, item.event.data.additional_properties["tokens"]] for item in listed)
today = operation("operations.debug_metrics").sync(client=backend)
seen["debug_metrics"] = isinstance(today, str) and today.startswith("# HELP openmeter_events_total")

created = operation("tokens.create_token").sync(client=backend, body=models.TokenCreate(subject="acme"))
customer = client.AuthenticatedClient(base_url=base_url, token=created.token)
ask = operation("portal.query_portal_meter").sync
seen["portal"] = rows(ask("generated_py", client=customer, group_by=["model"], from_=FROM, to=TO))
mine = models.PortalUsageQuery.from_dict({"advancedMeterGroupByFilters": {"model": {"$eq": "small"}}})
seen["portal_posted"] = rows(
    operation("portal.query_portal_meter_by_post").sync("generated_py", client=customer, body=mine)
)
seen["portal_meters"] = [
    meter.slug for meter in operation("portal.list_portal_meters").sync(client=customer) if meter.slug == "generated_py"
]
invalidate = models.TokenInvalidate(id=created.id)
seen["invalidated"] = operation("tokens.invalidate_tokens").sync_detailed(client=backend, body=invalidate).status_code
seen["revoked"] = [
    token.revoked for token in operation("tokens.list_tokens").sync(client=backend) if token.id == created.id
]
seen["refused"] = ask("generated_py", client=customer).to_dict()
missing = operation("meters.show_meter").sync_detailed("nothing_here", client=backend)
seen["missing"] = [missing.status_code, type(missing.parsed).__name__, missing.parsed.detail]
print(json.dumps(seen))  # noqa: T201
