"""Batches with invalid events: refused as a whole with each of them named, or, on request, their valid events accepted.

Contract 3.1, D.12, D.20, D.30; case N20. Source: RFC 7240.
"""

from typing import Any

import orjson
import pytest

from engine.errors import LogFull
from tests.api.conftest import BATCH, SINGLE, MemoryLog, event
from tests.harness.api_client import ApiClient

URL = "/api/v1/events"
LENIENT = {"Prefer": "handling=lenient"}


def good(number: int) -> dict[str, object]:
    return event(f"e{number}", "customer-1", "2025-01-01T00:00:00Z", {"tokens": number})


def bad(number: int) -> dict[str, object]:
    return {name: value for name, value in good(number).items() if name != "subject"}


def post(client: ApiClient, events: object, kind: str = BATCH, headers: dict[str, str] | None = None) -> Any:
    return client.post(URL, content=orjson.dumps(events), headers={"Content-Type": kind, **(headers or {})})


def test_a_batch_with_bad_events_is_refused_whole_and_all_of_them_are_named(
    still: ApiClient, still_log: MemoryLog
) -> None:
    """N20: before, each thousand of them needed another request."""
    events = [bad(number) if number < 3000 or number in {3500, 4998, 4999} else good(number) for number in range(5000)]

    answer = post(still, events)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(
        "invalid event: 3003 of 5000 events are invalid, the first 1000 are listed; "
    )
    assert answer.json()["extensions"]["refusedRanges"] == [[0, 2999], [3500, 3500], [4998, 4999]]
    assert len(answer.json()["extensions"]["validationErrors"]) == 1000
    assert "preference-applied" not in answer.headers
    assert still_log.values == []


def test_the_good_events_of_a_batch_are_taken_where_the_request_prefers_so(client: ApiClient, log: MemoryLog) -> None:
    events = [good(0), bad(1), good(2), bad(3), bad(4)]

    answer = post(client, events, headers=LENIENT)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["preference-applied"] == "handling=lenient"
    body = answer.json()
    assert (body["accepted"], body["refused"], body["refusedRanges"]) == (2, 3, [[1, 1], [3, 4]])
    assert body["validationErrors"] == [
        {
            "index": index, "field": "subject", "code": "invalid-event",
            "message": "subject is missing", "severity": "critical",
        }
        for index in (1, 3, 4)
    ]  # fmt: skip
    assert log.values == [orjson.dumps(events[0]), orjson.dumps(events[2])]


def test_all_refused_indexes_are_named_though_not_all_reasons(client: ApiClient, log: MemoryLog) -> None:
    answer = post(client, [*(bad(number) for number in range(2500)), good(2500), bad(2501)], headers=LENIENT)

    body = answer.json()
    assert (body["accepted"], body["refused"], len(body["validationErrors"])) == (1, 2501, 1000)
    assert body["refusedRanges"] == [[0, 2499], [2501, 2501]]
    assert len(log.values) == 1


@pytest.mark.parametrize("kind", [BATCH, "application/json"])
def test_a_batch_without_bad_events_is_answered_alike(client: ApiClient, log: MemoryLog, kind: str) -> None:
    answer = post(client, [good(0), good(1)], kind, LENIENT)

    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "handling=lenient")
    assert answer.json() == {"accepted": 2, "refused": 0, "refusedRanges": [], "validationErrors": []}
    assert len(log.values) == 2


def test_an_empty_batch_is_answered_alike(still: ApiClient) -> None:
    assert post(still, [], BATCH, LENIENT).json()["accepted"] == 0


@pytest.mark.parametrize(
    ("events", "kind"), [([bad(0), bad(1)], BATCH), (bad(0), SINGLE), ([bad(0)], "application/json")], ids=str
)
def test_where_no_event_is_good_nothing_was_taken_and_the_answer_is_400(
    still: ApiClient, still_log: MemoryLog, events: object, kind: str
) -> None:
    answer = post(still, events, kind, LENIENT)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-event")
    assert "preference-applied" not in answer.headers
    assert still_log.values == []


@pytest.mark.parametrize("headers", [{}, LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize(
    ("events", "kind"),
    [([bad(0)], BATCH), ([bad(0)], "application/json"), (bad(0), SINGLE), (bad(0), "application/json")],
    ids=["batch", "array", "single", "object"],
)
def test_a_request_with_one_event_names_the_range_of_it_too(
    still: ApiClient, events: object, kind: str, headers: dict[str, str]
) -> None:
    """D4: otherwise a producer that reads the ranges would take the whole body as invalid."""
    answer = post(still, events, kind, headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-event")
    assert answer.json()["detail"] == "invalid event: subject is missing"
    assert answer.json()["extensions"]["refusedRanges"] == [[0, 0]]


def test_an_event_in_binary_mode_names_its_range_too(still: ApiClient) -> None:
    """D4: this holds if a header is wrong, and if the resulting event is wrong."""
    whole = {"ce-id": "1", "ce-source": "app", "ce-type": "prompt", "ce-subject": "s", "ce-specversion": "1.0"}
    for wrong in ({"ce-data": "1"}, {"ce-specversion": "2"}):
        answer = still.post(URL, content=b"{}", headers={**whole, **wrong, "Content-Type": "application/json"})

        assert answer.status_code == 400
        assert answer.json()["extensions"]["refusedRanges"] == [[0, 0]]


def test_a_body_that_is_no_batch_is_refused_whatever_is_preferred(still: ApiClient) -> None:
    answer = still.post(URL, content=b"[{}", headers={"Content-Type": BATCH, **LENIENT})

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("invalid event: not a JSON array of events: ")


PREFERENCES = {
    "handling=lenient": True,
    "Handling=Lenient": True,
    'handling="lenient"': True,
    "handling = lenient": True,
    "respond-async, handling=lenient": True,
    "wait=10; x=y, handling=lenient; foo": True,
    'note="a, b", handling=lenient': True,
    "handling=lenient, handling=strict": True,
    "handling=strict, handling=lenient": False,
    "handling=strict": False,
    "handling": False,
    "handling=": False,
    "lenient": False,
    'note="a, handling=lenient"': False,
    "respond-async": False,
    "": False,
    '"' * 900: False,
    "a=" + "x" * 50_000 + '"': False,
}


@pytest.mark.parametrize(("preference", "applied"), PREFERENCES.items(), ids=lambda value: str(value)[:40])
def test_preferences_are_read_as_rfc_7240_writes_them(
    client: ApiClient, log: MemoryLog, preference: str, applied: bool
) -> None:
    answer = post(client, [good(0), bad(1)], headers={"Prefer": preference})

    assert answer.status_code == (200 if applied else 400)
    assert ("preference-applied" in answer.headers, len(log.values)) == (applied, int(applied))


def test_a_log_that_cannot_take_the_good_events_is_503(client: ApiClient, log: MemoryLog) -> None:
    log.failure = LogFull("the event log is full")

    answer = post(client, [good(0), bad(1)], headers=LENIENT)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert log.values == []


def test_only_the_events_that_were_taken_are_counted_as_accepted(client: ApiClient) -> None:
    before = _accepted(client)

    post(client, [good(0), bad(1), good(2)], headers=LENIENT)

    assert _accepted(client) == before + 2


def _accepted(client: ApiClient) -> float:
    lines = client.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("meterport_events_accepted_total ")]
    return float(line.split()[1])
