"""The checks at the end of every scenario: each event is stored and counted once, and nothing is left over.

Owns: the queries of the checks, and the comparison of tables, dead letters and answers with what was delivered. The
message of a failure says how many events are lost and how many are doubled.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
from clickhouse_connect.driver.client import Client

from tests.chaos.fold import Fold
from tests.harness import oracle
from tests.harness.translation import rows

ZONE = "America/New_York"
Letters = Mapping[tuple[int, int], str]  # (partition, offset) -> a text that the reason must contain


@dataclass(frozen=True, slots=True)
class Loss:
    """How many events the store lacks, and how many it has too often."""

    lost: int
    doubled: int


def queries(meter: oracle.Meter) -> list[oracle.Query]:
    """Return queries that use every grain of a meter, each of its group-bys, and all events that it counts."""
    return [
        oracle.Query(window_size="MINUTE", group_by=("subject", *meter.group_by)),
        oracle.Query(window_size="HOUR", group_by=tuple(meter.group_by)),
        oracle.Query(window_size="DAY", zone=ZONE, group_by=("subject",)),
        oracle.Query(window_size="MONTH"),
        oracle.Query(group_by=("subject",)),
        oracle.Query(),
    ]


def loss(client: Client, expected: int) -> Loss:
    """Compare the table `events` with `expected`, the number of different events that were delivered."""
    count, distinct = client.query("SELECT count(), uniqExact(source, id) FROM events").result_rows[0]
    return Loss(expected - distinct, count - distinct)


def check_tables(client: Client, expected: int) -> None:
    """Check the stored events. Raises: AssertionError: an event is lost or doubled, or `event_keys` does not match."""
    found = loss(client, expected)
    assert found == Loss(0, 0), f"events: {found.lost} lost, {found.doubled} doubled, of {expected}"
    keys = [
        tuple(client.query(f"SELECT count(), uniqExact(key), sum(cityHash64(key)) FROM {table}").result_rows[0])
        for table in ("events", "event_keys")
    ]
    assert keys[0] == keys[1], f"events have (rows, keys, checksum) {keys[0]}, but event_keys {keys[1]}"
    assert keys[0][1] == expected, f"{keys[0][1]} keys of {expected} events"


def check_letters(client: Client, expected: Letters) -> None:
    """Raises: AssertionError: the dead letters are not the invalid records, each once and with its reason."""
    found = client.query("SELECT log_partition, log_offset, reason FROM dead_letters").result_rows
    positions = sorted((partition, offset) for partition, offset, _ in found)
    assert positions == sorted(expected), f"dead letters at {positions}, garbage at {sorted(expected)}"
    for partition, offset, reason in found:
        assert expected[partition, offset] in reason, f"{partition}:{offset} is a dead letter for {reason!r}"


def check_meters(url: str, fold: Fold, meters: Sequence[oracle.Meter], headers: Mapping[str, str] | None = None) -> int:
    """Run every query of every meter. Return how many rows were compared. Args: headers: those of each request.

    Raises: AssertionError: an answer differs from the fold, or did not come from the rollups.
    """
    compared = 0
    with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
        for meter in meters:
            for query in queries(meter):
                compared += _check_answer(client, fold, meter, query)
    return compared


def _check_answer(client: httpx.Client, fold: Fold, meter: oracle.Meter, query: oracle.Query) -> int:
    parameters: dict[str, str | list[str]] = {"groupBy": list(query.group_by)}
    if query.window_size:
        parameters |= {"windowSize": query.window_size, "windowTimeZone": query.zone}
    answer = client.get(f"/api/v1/meters/{meter.slug}/query", params=parameters)
    assert answer.status_code == 200, answer.text
    assert "raw" not in answer.headers["x-meterport-grains"], f"{meter.slug} {query} was answered from raw events"
    got = rows(json.dumps(json.loads(answer.text, parse_float=str, parse_int=str)["data"]).encode())
    expected = fold.usage(meter, query)
    if got != expected:
        wrong = sorted(set(got) ^ set(expected), key=lambda row: (row.window_start, row.subject or ""))
        raise AssertionError(f"{meter.slug} {query}: {len(wrong)} rows differ: {wrong[:4]}")
    return len(got)
