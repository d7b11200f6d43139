"""Attacks with a valid token: no request reaches another subject, and the text of the token appears nowhere.

Each attack goes through the whole application on a real store. It must not be answered by 500, and must not get usage
of another subject.
"""

import itertools
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from api.dependencies import Dependencies
from engine.metrics import REGISTRY
from ingest.dead_letters import DeadLetter, dead_letter_block
from ingest.event_log import Record
from tests.api.conftest import Token
from tests.api.portal.conftest import METERS, QUERY, VALUES, text_of
from tests.harness.api_client import ApiClient
from tests.harness.long_form import LONG

pytestmark = pytest.mark.thorough

EXAMPLES = 2000 if LONG else 50
VICTIMS = "victims-own-model"  # a value of a subject for which no test has a token


# the subject


@pytest.fixture
def attacked(meter: Callable[..., Any], send: Callable[..., None]) -> None:
    """An attacker with some usage, a victim with much more, and a subject whose name is SQL."""
    meter()
    at = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    send(
        ("attacker", at, {"tokens": 1, "model": "mine", "type": "in"}),
        ("victim", at, {"tokens": 1000, "model": VICTIMS, "type": "in"}),
        ("attacker' OR '1'='1", at, {"tokens": 2000, "model": VICTIMS, "type": "in"}),
    )


INJECTIONS = [
    "victim",
    "*",
    "%",
    "",
    "attacker,victim",
    "' OR 1=1 --",
    "attacker' OR '1'='1",
    "attacker') OR (1=1",
    "\\' OR 1=1 --",
    "{subject:String}",
    "{subjects:Array(String)}",
    "%(subjects)s",
    "%s",
    "\0victim",
    "victim\0",
    "['victim']",
    "]) UNION ALL SELECT * FROM events --",
    "d0",
    "d0 OR true",
    "`subject`",
    "subject` OR 1 --",
    "UTC'), (SELECT 1",
    "../../events",
    "..%2f..%2fmeters",
    "\u202evictim",
    "ｖｉｃｔｉｍ",
]
NAMES = [
    *(
        "subject",
        "Subject",
        "subject[]",
        "subjects",
        "filterSubject",
        "sub",
        "customer",
        "filterCustomerId",
        "clientId",
    ),
    *(
        "groupBy",
        "filterGroupBy[model]",
        "filterGroupBy[subject]",
        "filterGroupBy[type]",
        "windowTimeZone",
        "windowSize",
    ),
    *("from", "to", "advancedMeterGroupByFilters", "key", "slug", "meter", "token", "limit", "cursor"),
]


def shows_only_ones_own(answer: httpx.Response) -> None:
    """Return whether an answer is no defect and shows nothing of another subject."""
    assert answer.status_code in {200, 400, 401, 404, 405}, answer.text
    if answer.status_code != 200:
        return
    assert VICTIMS not in answer.text
    if answer.headers["content-type"] == "text/csv":
        lines = answer.text.splitlines()
        assert all(line.split(",")[2] == "attacker" for line in lines[1:]), lines
    elif isinstance(answer.json(), dict):
        assert {row["subject"] for row in answer.json()["data"]} <= {"attacker"}
        assert all(row["value"] <= 1 for row in answer.json()["data"])


@pytest.mark.usefixtures("attacked")
@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_widens_the_subject(anyone: ApiClient, token: Token, name: str) -> None:
    """R20: all parameters, known or not, by GET in JSON and CSV, on each portal route."""
    mine = token("attacker")

    # In the short form each name gets every third text, and the next name gets the next ones.
    for text in INJECTIONS if LONG else INJECTIONS[NAMES.index(name) % 3 :: 3]:
        shows_only_ones_own(anyone.get(f"{QUERY}?{name}={quote(text)}", headers=mine))
    for text in ("victim", "attacker' OR '1'='1"):
        for path in (VALUES, METERS):
            shows_only_ones_own(anyone.get(f"{path}?{name}={quote(text)}", headers=mine))
        shows_only_ones_own(anyone.get(f"{QUERY}?{name}={quote(text)}", headers={**mine, "Accept": "text/csv"}))


@pytest.mark.usefixtures("attacked")
def test_no_member_of_a_body_widens_the_subject(anyone: ApiClient, token: Token) -> None:
    """R20."""
    mine = token("attacker")
    shapes: list[Callable[[str], object]] = [
        lambda text: {"subject": [text]},
        lambda text: {"subject": [text, "victim"], "filterCustomerId": [text]},
        lambda text: {"groupBy": ["subject", text]},
        lambda text: {"filterGroupBy": {"model": [text, VICTIMS]}},
        lambda text: {"filterGroupBy": {text: ["x"]}},
        lambda text: {"advancedMeterGroupByFilters": {"model": {"$ne": text}}},
        lambda text: {"advancedMeterGroupByFilters": {"model": {"$or": [{"$like": "%"}, {"$eq": text}]}}},
        lambda text: {"advancedMeterGroupByFilters": {text: {"$ne": "x"}}},
        lambda text: {"advancedMeterGroupByFilters": {"model": {text: "x"}}},
        lambda text: {"windowTimeZone": text},
        lambda text: {"windowSize": text},
        lambda text: {"from": text},
        lambda text: {text: text},
    ]

    for shape, text in itertools.product(shapes, INJECTIONS):
        shows_only_ones_own(anyone.post(QUERY, headers=mine, json=shape(text)))


@pytest.mark.usefixtures("attacked")
@pytest.mark.parametrize("text", INJECTIONS)
def test_no_path_leads_to_another_subject(anyone: ApiClient, client: ApiClient, token: Token, text: str) -> None:
    """R19, R20: by slugs, keys and ids, with the token and with the key. Nothing is changed, either."""
    mine, written = token("attacker"), quote(text, safe="")

    for path in (
        f"{METERS}/{written}/query",
        f"{METERS}/tokens_total/group-by/{written}/values",
        f"{METERS}/{written}",
    ):
        shows_only_ones_own(anyone.get(path, headers=mine))
        assert anyone.post(path, headers=mine, json={}).status_code in {400, 404, 405}
    for path in (
        f"/api/v1/meters/{written}",
        f"/api/v1/meters/{written}/query",
        f"/api/v1/meters/tokens_total/group-by/{written}/values",
        f"/api/v1/subjects/{written}",
    ):
        assert client.get(path).status_code in {200, 307, 400, 404}
    assert client.get("/api/v1/meters/tokens_total/query").json()["data"][0]["value"] == 3001


_PIECES = ["'", '"', "\\", "`", ";", "--", "/*", "{", "}", ":", "%", "$", "\0", "\n", "OR 1=1", "victim", "é", "\u202e"]
_hostile = st.lists(st.sampled_from(_PIECES) | st.characters(exclude_categories=["Cs"]), max_size=8).map("".join)
_keys = _hostile | st.just("model")
_filters = st.dictionaries(st.sampled_from(["$eq", "$ne", "$like", "$ilike", "$gt"]), _hostile, max_size=1)
_bodies = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.lists(_hostile, max_size=2),
        "groupBy": st.lists(_hostile | st.sampled_from(["subject", "model"]), max_size=2),
        "filterGroupBy": st.dictionaries(_keys, st.lists(_hostile, max_size=2), max_size=2),
        "advancedMeterGroupByFilters": st.dictionaries(_keys, _filters, max_size=2),
        "windowTimeZone": _hostile,
    },
)


@pytest.fixture
def attacker(token: Token) -> dict[str, str]:
    return token("attacker")


@pytest.mark.usefixtures("attacked")
@effort(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(parameters=st.lists(st.tuples(st.sampled_from(NAMES), _hostile), max_size=4), body=_bodies)
def test_whatever_a_portal_query_says_it_shows_ones_own(
    anyone: ApiClient, attacker: dict[str, str], parameters: list[tuple[str, str]], body: dict[str, object]
) -> None:
    """R19, R20: the answer is never 500 and never has a row of another subject."""
    shows_only_ones_own(anyone.get(QUERY, params=parameters, headers=attacker))
    shows_only_ones_own(anyone.post(QUERY, json=body, headers=attacker))


# where a token's text must not be


@pytest.mark.usefixtures("attacked")
def test_the_text_of_a_token_is_nowhere(
    anyone: ApiClient, client: ApiClient, token: Token, dependencies: Dependencies, caplog: pytest.LogCaptureFixture
) -> None:
    """D.2: it is in no log line, metric, error, listing or answer except that of its creation, and not in the store."""
    with caplog.at_level(logging.DEBUG):
        headers = token("attacker")
        text = text_of(headers)
        named = {text: 1, "specversion": "1.0", "id": "1", "source": "s", "type": "t", "subject": "u"}
        letter = DeadLetter(Record(0, 1, 0, orjson.dumps(named), None), f"attribute name {text}")
        dependencies.store.insert_block("dead_letters", dead_letter_block([letter], 0), "letter")
        answers = [
            anyone.get(QUERY, headers=headers),
            anyone.get(f"{QUERY}?token={text}&groupBy={text}", headers=headers),
            anyone.get(f"{METERS}/{text}/query", headers=headers),
            anyone.get(f"{METERS}?access_token={text}"),
            anyone.get(METERS, headers={"Authorization": f"Bearer {text}x"}),
            anyone.get(METERS, headers={"Authorization": f"Token {text}"}),
            client.get("/api/v1/meters", headers=headers),
            client.get("/api/v1/portal/tokens"),
            client.get("/api/v1/events"),
            client.get("/metrics"),
            client.get("/openapi.json"),
            client.post("/api/v1/events", json=[named, {**named, text: text}]),
            client.post("/api/v1/dead-letters/replay", json={"all": True, "dryRun": True}),
        ]
        page = client.get("/api/v1/dead-letters", params={"limit": 1, "reason": text})

    assert [str(answer.url) for answer in answers if text in answer.text] == []
    assert len(answers[-2].json()["extensions"]["validationErrors"]) == 2
    assert len(answers[-1].json()["problems"]) == 1
    assert text not in page.headers["link"]
    assert answers[1].json()["detail"] == "validation error: invalid group by: om_portal_…"
    # httpx is the client of the test: its log lines do not count.
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    assert text not in "\n".join(ours)
    assert text not in "".join(
        sample.name + str(sample.labels) for family in REGISTRY.collect() for sample in family.samples
    )
    rows = dependencies.store.rows("SELECT * FROM portal_tokens")
    assert rows
    assert text.rsplit(".", 1)[1] not in str(rows)
