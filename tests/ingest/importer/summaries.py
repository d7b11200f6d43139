"""Meters, usage and expected lines for the tests of an import's summary."""

import subprocess

from meterport.client import ApiClient

AT = "2026-11-01T00:00:00Z"


def meter(client: ApiClient, type_: str, aggregation: str = "SUM") -> None:
    value = {} if aggregation == "COUNT" else {"valueProperty": "$.tokens"}
    slug = f"{type_}_{aggregation.lower()}"
    client.create_meter({"slug": slug, "eventType": type_, "aggregation": aggregation, **value})


def usage(client: ApiClient, slug: str) -> list[object]:
    return [row["value"] for row in client.query(slug, {}).json()["data"]]


def of_stored(rows: int) -> str:
    verb = "is" if rows == 1 else "are"
    reason = "no meter has their type, or a meter of it left them out"
    return f"of the rows stored, {rows} {verb} not counted by every meter: {reason}"


def told(answer: "subprocess.CompletedProcess[str]") -> list[str]:
    """Return the summary, without the seconds."""
    assert answer.returncode == 0, answer.stderr
    first, *others = answer.stdout.splitlines()
    return [first.partition(", in ")[0], *others]
