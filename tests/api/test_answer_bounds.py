"""Limits on answers: rows, values and subjects are limited, and an incomplete answer says so."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from tests.api.conftest import CSV, KEY, PORTAL_QUERY, QUERY, Create, Send, Token
from tests.harness.api_client import ApiClient

pytestmark = pytest.mark.thorough

VALUES = "/api/v1/meters/tokens_total/group-by/model/values"
PORTAL_VALUES = "/api/v1/portal/meters/tokens_total/group-by/model/values"
SUBJECTS = "/api/v1/meters/tokens_total/subjects"
ADVICE = "ask for fewer groups, larger windows, a shorter range, or with a filter"
Bounded = Callable[..., ApiClient]


@pytest.fixture
def bounded(portal: BlockingPortal, dependencies: Dependencies) -> Bounded:
    """A client with the API key, for an application with other limits: `rows=3` and `values=3`, and 2 on the portal."""

    def create(rows: int = 3, values: int = 3) -> ApiClient:
        settings = dependencies.settings
        limits = {
            "query": settings.query.model_copy(update={"max_rows": rows, "max_values": values}),
            "portal": settings.portal.model_copy(update={"max_rows": rows - 1, "max_values": values - 1}),
        }
        app = create_app(replace(dependencies, settings=settings.model_copy(update=limits)))
        return ApiClient(portal, app, {"Authorization": f"Bearer {KEY}"})

    return create


@pytest.fixture
def models(meter: Create, send: Send) -> Callable[..., None]:
    """Create a meter, and send one event for each model: an hour ago, all of one subject."""

    def create(*names: str, **changes: object) -> None:
        meter(**changes)
        at = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        send(*(("customer-1", at, {"tokens": number + 1, "model": name}) for number, name in enumerate(names)))

    return create


# rows


@pytest.mark.parametrize("aggregation", ["SUM", "COUNT"])
@pytest.mark.parametrize("as_csv", [False, True], ids=["json", "csv"])
def test_an_answer_with_more_rows_than_may_be_is_refused_and_not_cut(
    bounded: Bounded, models: Callable[..., None], token: Token, as_csv: bool, aggregation: str
) -> None:
    """N18: an answer may have exactly the maximum of rows. One row more is 400, on every route and in every format."""
    models("a", "b", "c", aggregation=aggregation, valueProperty="$.tokens" if aggregation == "SUM" else None)
    accept = CSV if as_csv else {}
    mine = token("customer-1") | accept

    for rows, status in ((3, 200), (2, 400)):
        key, holder = bounded(rows=rows), bounded(rows=rows + 1)
        answers = [
            (key.get(f"{QUERY}?groupBy=model", headers=accept), "query.max_rows"),
            (key.post(QUERY, json={"groupBy": ["model"]}, headers=accept), "query.max_rows"),
            (holder.get(f"{PORTAL_QUERY}?groupBy=model", headers=mine), "portal.max_rows"),
            (holder.post(PORTAL_QUERY, json={"groupBy": ["model"]}, headers=mine), "portal.max_rows"),
        ]
        for answer, setting in answers:
            assert answer.status_code == status, answer.text
            if status == 400:
                told = f"the answer has more than {rows} rows, which is the limit {setting}: {ADVICE}"
                assert (answer.json()["code"], answer.json()["detail"]) == ("too-many-rows", told)
            elif as_csv:
                assert len(answer.text.splitlines()) == 1 + 3
            else:
                assert len(answer.json()["data"]) == 3


def test_windows_are_rows_too(bounded: Bounded, meter: Create, send: Send) -> None:
    """N18: also without a group-by."""
    meter()
    send(*(("customer-1", f"2025-01-01T00:0{minute}:00Z", {"tokens": 1}) for minute in range(4)))

    assert bounded(rows=4).get(f"{QUERY}?windowSize=MINUTE").status_code == 200
    assert bounded(rows=3).get(f"{QUERY}?windowSize=MINUTE").json()["code"] == "too-many-rows"
    assert bounded(rows=3).get(f"{QUERY}?windowSize=HOUR").status_code == 200


def test_groups_without_a_value_are_no_rows(bounded: Bounded, meter: Create, send: Send) -> None:
    """N18: the limit counts the rows of the answer, not the rows that were read."""
    meter()
    at = "2025-01-01T00:00:00Z"
    send(*(("customer-1", at, {"tokens": tokens, "model": f"m{tokens}"}) for tokens in (1, 2, "x", "y", "z")))

    answer = bounded(rows=2).get(f"{QUERY}?groupBy=model")

    assert [row["groupBy"]["model"] for row in answer.json()["data"]] == ["m1", "m2"]


def test_line_ends_within_values_are_no_rows(bounded: Bounded, models: Callable[..., None]) -> None:
    """N18: in CSV a value may have many lines."""
    models('a\n"\n\n"', "\n\nb", 'c"')

    answer = bounded(rows=3).get(f"{QUERY}?groupBy=model", headers=CSV)

    assert answer.status_code == 200
    assert answer.text.count("\n") > 1 + 3
    assert bounded(rows=2).get(f"{QUERY}?groupBy=model", headers=CSV).status_code == 400


def test_a_month_of_minutes_of_some_groups_is_within_the_limits(dependencies: Dependencies) -> None:
    """N18: with the default limits, the queries of invoicing and of pages are answered."""
    month = 31 * 24 * 60

    assert dependencies.settings.query.max_rows >= 10 * month
    assert dependencies.settings.portal.max_rows >= 2 * month


# values and subjects


def pages(client: ApiClient, url: str, headers: dict[str, str] | None = None) -> list[list[str]]:
    """Return all pages of a listing, by following its links."""
    found = []
    while url:
        answer = client.get(url, headers=headers or {})
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        url = answer.links.get("next", {}).get("url", "")
        assert len(found) < 10
    return found


def test_values_come_in_pages_that_name_the_next(bounded: Bounded, models: Callable[..., None], token: Token) -> None:
    """N18, D.34: a client that does not know pages gets the first one, and the answer says that there are more."""
    models("a", "b&?", "Bb", "c", "null")
    client, mine = bounded(), token("customer-1")

    assert pages(client, VALUES) == [["Bb", "a", "b&?"], ["c", "null"]]
    assert pages(client, PORTAL_VALUES, mine) == [["Bb", "a"], ["b&?", "c"], ["null"]]
    assert pages(client, f"{VALUES}?limit=2&search=B") == [["Bb", "b&?"]]
    assert pages(client, f"{VALUES}?limit=1&search=B") == [["Bb"], ["b&?"]]
    assert "link" not in bounded(values=5).get(VALUES).headers


def test_pages_of_values_are_of_one_range(bounded: Bounded, models: Callable[..., None]) -> None:
    """N18: "the last 24 hours" would be another range when the next page is requested."""
    models("a", "b", "c", "d")

    link = bounded().get(VALUES).links["next"]["url"]

    assert "from=20" in link
    assert "to=20" in link


def test_values_are_searched_for_in_any_case_and_as_plain_text(
    client: ApiClient, models: Callable[..., None], token: Token
) -> None:
    """N18: the search text is a part of a value, not a pattern."""
    models("Atlas-Large", "atlas-small", "100%_x", "ÄRGER", "")
    mine = token("customer-1")

    def found(search: str) -> list[list[str]]:
        return [
            client.get(path, params={"search": search}, headers=headers).json()
            for path, headers in ((VALUES, {}), (PORTAL_VALUES, mine))
        ]

    assert found("LAS-") == [["Atlas-Large", "atlas-small"]] * 2
    assert found("%_") == [["100%_x"]] * 2
    assert found("ärger") == [["ÄRGER"]] * 2
    assert found("nothing") == [[]] * 2
    assert found("")[0][:2] == ["", "100%_x"]


def test_no_larger_page_than_may_be_is_asked_for(bounded: Bounded, models: Callable[..., None], token: Token) -> None:
    """N18: the answer is 400 and names the parameter, as for all other pages."""
    models("a")
    client, mine = bounded(), token("customer-1")

    for path, headers, most in ((VALUES, {}, 3), (SUBJECTS, {}, 3), (PORTAL_VALUES, mine, 2)):
        told = client.get(f"{path}?limit=4", headers=headers)
        assert told.status_code == 400
        assert told.json()["detail"] == f'parameter "limit" in query has an error: number must be 1 to {most}'


def test_a_page_behind_a_value_too_long_for_a_link_is_refused(bounded: Bounded, models: Callable[..., None]) -> None:
    """N18: a listing is never cut without a notice."""
    models("a" * 3000, "b")

    answer = bounded(values=3).get(f"{VALUES}?limit=1")

    assert (answer.status_code, answer.json()["code"]) == (400, "too-many-rows")
    assert (
        answer.json()["detail"]
        == "the answer has more than 1 values, and the last one is too long to continue after it: use search"
    )


def test_subjects_of_a_meter_come_in_pages(bounded: Bounded, meter: Create, send: Send) -> None:
    """N18, K7."""
    meter()
    send(*((f"customer-{number}", "2025-01-01T00:00:00Z", {"tokens": 1}) for number in range(5)))
    client = bounded()

    assert pages(client, SUBJECTS) == [["customer-0", "customer-1", "customer-2"], ["customer-3", "customer-4"]]
    assert pages(client, f"{SUBJECTS}?search=R-4") == [["customer-4"]]


def test_subjects_that_were_named_come_in_pages(bounded: Bounded) -> None:
    """K7: oldest first, each once, even if subjects are changed or deleted between two pages."""
    client = bounded()
    for key in ("c", "a", "d", "b"):
        assert client.post("/api/v1/subjects", json=[{"key": key}]).status_code == 200
    first = client.get("/api/v1/subjects")

    client.post("/api/v1/subjects", json=[{"key": "a", "displayName": "changed"}])
    client.delete("/api/v1/subjects/d")
    second = client.get(first.links["next"]["url"])

    assert [subject["key"] for subject in first.json()] == ["c", "a", "d"]
    assert [subject["key"] for subject in second.json()] == ["b"]
    assert "link" not in second.headers
    assert client.get("/api/v1/subjects?after=x").json()["detail"] == "validation error: after is invalid"


def test_the_events_of_many_subjects_are_counted_together(bounded: Bounded, meter: Create, send: Send) -> None:
    """K7: the subjects with the most events have their own line. The sum stays complete."""
    meter()
    now = datetime.now(UTC).isoformat()
    counts = {"a": 1, "b": 2, "c": 3, "d": 2, "e": 1}
    send(*((subject, now, {}) for subject, count in counts.items() for _ in range(count)))

    lines = bounded().get("/api/v1/debug/metrics").text.splitlines()

    assert [line.removeprefix("openmeter_events_total") for line in lines if not line.startswith("#")] == [
        '{subject=""} 2.0', '{subject="b"} 2.0', '{subject="c"} 3.0', '{subject="d"} 2.0',
    ]  # fmt: skip
