"""Attacks on tokens and portal routes: forged tokens open nothing, and no request reaches another subject.

Each attack goes through the whole application on a real store. An attack must not be let in, must not be answered by
500, must not get usage of another subject, and must not learn more than what is public.
"""

import dataclasses
import hashlib
import itertools
import json
import logging
import random
import socket
import string
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import uvicorn
from anyio.from_thread import BlockingPortal
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer
from starlette.applications import Starlette

from api.app import create_app
from api.dependencies import Dependencies
from api.server.server import HttpServer, uvicorn_config
from engine.errors import Unauthorized
from engine.metrics import REGISTRY
from engine.tokens.portal_tokens import PREFIX, PortalTokens
from ingest.dead_letters import DeadLetter, dead_letter_block
from ingest.event_log import Record
from tests.api.conftest import KEY, SIGNING_KEY, MemoryLog, build
from tests.harness.api_client import ApiClient
from tests.harness.long_form import LONG

pytestmark = pytest.mark.thorough

METERS = "/api/v1/portal/meters"
QUERY = f"{METERS}/tokens_total/query"
VALUES = f"{METERS}/tokens_total/group-by/model/values"
EXAMPLES = 2000 if LONG else 50
VICTIMS = "victims-own-model"  # a value of a subject for which no test has a token
REFUSALS = {
    "invalid token: malformed",
    "invalid token: bad signature",
    "invalid token: expired",
    "invalid token: revoked",
    "invalid authorization header",
    "missing authorization header",
}
Token = Callable[..., dict[str, str]]


def text_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].removeprefix("Bearer ")


def refusal(client: ApiClient, token: str | bytes) -> str:
    """Send a token. Return why it was refused, or "" if it was accepted."""
    header = b"Bearer " + token if isinstance(token, bytes) else f"Bearer {token}".encode()
    answer = client.get(METERS, headers={"Authorization": header})
    if answer.status_code == 200:
        return ""
    assert answer.status_code == 401, answer.text
    assert answer.json()["detail"] in REFUSALS
    return str(answer.json()["detail"])


# forged, cut off, changed


def test_a_token_with_any_byte_changed_is_refused(stranger: ApiClient, still_token: Token) -> None:
    """Contract 1.3: every bit of every byte."""
    whole = text_of(still_token("customer-1", ["tokens_total"])).encode()
    assert refusal(stranger, whole) == ""

    for at, bit in itertools.product(range(len(whole)), range(8)):
        changed = bytearray(whole)
        changed[at] ^= 1 << bit
        if changed[at] in b"\r\n\0":  # a header cannot contain it
            continue
        assert refusal(stranger, bytes(changed)), (at, bit)


def test_a_token_cut_off_anywhere_or_made_longer_is_refused(stranger: ApiClient, still_token: Token) -> None:
    """Contract 1.3."""
    whole = text_of(still_token("customer-1"))

    for length in range(1, len(whole)):
        assert refusal(stranger, whole[:length])
        assert refusal(stranger, whole[length:])
    for more in ("A", "=", ".", ".A", "%00", whole):
        assert refusal(stranger, whole + more)
        assert refusal(stranger, more + whole)


@pytest.mark.parametrize(
    ("key", "salt", "changes"),
    [
        ("another-signing-key", "meterport.portal-token.1", {}),
        (SIGNING_KEY, "meterport.portal-token.2", {}),
        (SIGNING_KEY, "meterport.session.1", {}),
        (SIGNING_KEY, "itsdangerous", {}),
        (SIGNING_KEY, "meterport.portal-token.1", {"digest_method": "sha1"}),
        (SIGNING_KEY, "meterport.portal-token.1", {"key_derivation": "django-concat"}),
        (SIGNING_KEY, "meterport.portal-token.1", {"key_derivation": "none"}),
        (KEY, "meterport.portal-token.1", {}),
        ("", "meterport.portal-token.1", {}),
    ],
    ids=[
        "key",
        "next salt",
        "other purpose",
        "default salt",
        "sha1",
        "derivation",
        "no derivation",
        "api key",
        "empty",
    ],
)
def test_a_token_signed_otherwise_is_refused(stranger: ApiClient, key: str, salt: str, changes: dict[str, Any]) -> None:
    """Contract 1.3: another key, salt, purpose, digest, derivation."""
    wanted = {"digest_method": hashlib.sha256, "key_derivation": "hmac", **changes}
    if wanted["digest_method"] == "sha1":
        wanted["digest_method"] = hashlib.sha1
    now_ms = int(time.time() * 1000)
    claims = ["01M83ZMT860CC8EJVW5C4HTAXF", "customer-1", None, now_ms, now_ms + 3_600_000]
    forged = PREFIX + str(URLSafeSerializer(key, salt=salt, signer_kwargs=wanted).dumps(claims))

    short = wanted["digest_method"] is hashlib.sha1  # its length shows that before the signatures are compared
    assert refusal(stranger, forged) == f"invalid token: {'malformed' if short else 'bad signature'}"


def test_a_subject_written_into_a_signed_token_is_refused(stranger: ApiClient, still_token: Token) -> None:
    """Contract 1.3: everybody can read the payload, and nobody can change it."""
    payload, signature = text_of(still_token("customer-1")).removeprefix(PREFIX).rsplit(".", 1)
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims[1] == "customer-1"
    claims[1] = "victim"
    other = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    assert refusal(stranger, f"{PREFIX}{other}.{signature}") == "invalid token: bad signature"


def test_parts_of_two_tokens_make_no_third(stranger: ApiClient, still_token: Token) -> None:
    first, second = (text_of(still_token(subject)).rsplit(".", 1) for subject in ("customer-1", "victim"))

    assert refusal(stranger, f"{second[0]}.{first[1]}") == "invalid token: bad signature"


@pytest.mark.parametrize(
    "forged",
    [
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ2aWN0aW0ifQ.",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvcGVubWV0ZXIiLCJzdWIiOiJ2aWN0aW0ifQ.c2lnbmF0dXJl",
        f"{PREFIX}.",
        f"{PREFIX}..",
        PREFIX,
        f"{PREFIX}{'A' * 9000}.{'A' * 43}",
        f"{PREFIX.upper()}e30.{'A' * 43}",
        f"{PREFIX}e30.{'A' * 42}=",
        f"{PREFIX}e30.{'A' * 43}\t",
    ],
)
def test_what_only_looks_like_a_token_is_refused(stranger: ApiClient, forged: str) -> None:
    """Contract 1.3: JWTs, empty parts, too long, another alphabet."""
    assert refusal(stranger, forged) in REFUSALS


def test_ten_thousand_random_strings_open_nothing(still_dependencies: Dependencies) -> None:
    """Contract 1.3: half of them have the form of a token."""
    rng = random.Random(20261123)  # noqa: S311 - the same strings each time
    alphabet = string.ascii_letters + string.digits + "-_"

    def noise(length: int, letters: str) -> str:
        return "".join(rng.choices(letters, k=length))

    for number in range(10_000):
        if number % 2:
            token = f"{PREFIX}{noise(rng.randrange(1, 200), alphabet)}.{noise(43, alphabet)}"
        else:
            token = noise(rng.randrange(1, 100), string.printable + "éß漢\u202e\0")
        with pytest.raises(Unauthorized, match=r"^invalid token: (malformed|bad signature)$"):
            still_dependencies.tokens.verify(token)


# keys, time, revocation


def with_keys(dependencies: Dependencies, keys: list[str], clock: Callable[[], datetime] | None = None) -> PortalTokens:
    given = {"clock": clock} if clock else {}
    return PortalTokens(dependencies.store, keys, dependencies.settings.portal, **given)


def test_an_old_key_verifies_until_it_is_taken_out(
    portal: BlockingPortal, dependencies: Dependencies, token: Token
) -> None:
    """Contract 1.3: this allows key rotation."""
    mine = token("customer-1")

    def opens(keys: list[str]) -> str:
        app = create_app(dataclasses.replace(dependencies, tokens=with_keys(dependencies, keys)))
        return refusal(ApiClient(portal, app), text_of(mine))

    assert opens(["the-newer-signing-key", SIGNING_KEY]) == ""
    assert opens([SIGNING_KEY, "the-newer-signing-key"]) == ""
    assert opens(["the-newer-signing-key"]) == "invalid token: bad signature"


def test_a_token_is_refused_from_the_instant_it_expires(
    portal: BlockingPortal, client: ApiClient, dependencies: Dependencies
) -> None:
    """Contract 1.3: there is no leeway. A second before that instant it is accepted, a second after it is not."""
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    made = client.post("/api/v1/portal/tokens", json={"subject": "a", "expiresAt": expires_at.isoformat()}).json()

    def at(moment: datetime) -> str:
        tokens = with_keys(dependencies, [SIGNING_KEY], lambda: moment)
        return refusal(ApiClient(portal, create_app(dataclasses.replace(dependencies, tokens=tokens))), made["token"])

    assert at(expires_at - timedelta(seconds=1)) == ""
    assert at(expires_at - timedelta(milliseconds=1)) == ""
    assert at(expires_at) == "invalid token: expired"
    assert at(expires_at + timedelta(seconds=1)) == "invalid token: expired"


@pytest.mark.parametrize("by", ["id", "subject"])
def test_another_process_honours_a_revocation_with_its_next_refresh(
    portal: BlockingPortal, client: ApiClient, dependencies: Dependencies, by: str
) -> None:
    """Contract 1.2: two sets of dependencies share one store. A real process refreshes every half second."""
    other = build(dependencies.store, dependencies.settings, MemoryLog(dependencies.store, dependencies.settings))
    made = [client.post("/api/v1/portal/tokens", json={"subject": "a"}).json() for _ in range(2)]
    elsewhere = ApiClient(portal, create_app(other))
    other.tokens.refresh()
    assert [refusal(elsewhere, item["token"]) for item in made] == ["", ""]

    body = {"id": made[0]["id"]} if by == "id" else {"subject": "a"}
    assert client.post("/api/v1/portal/tokens/invalidate", json=body).status_code == 204
    other.tokens.refresh()

    assert refusal(elsewhere, made[0]["token"]) == "invalid token: revoked"
    assert refusal(elsewhere, made[1]["token"]) == ("" if by == "id" else "invalid token: revoked")


# headers, on a real socket


@pytest.fixture
def socket_server(still_app: Starlette, still_dependencies: Dependencies) -> Iterator[int]:
    """Run the application behind the real HTTP server. Yield its port."""
    ports: list[int] = []
    listening = threading.Event()

    def on_listening(port: int) -> None:
        ports.append(port)
        listening.set()

    config: uvicorn.Config = uvicorn_config(still_app, "127.0.0.1", 0, still_dependencies.settings)
    server = HttpServer(config, on_listening=on_listening)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert listening.wait(30)
    yield ports[0]
    server.should_exit = True
    thread.join()


def raw_status(port: int, head: bytes) -> int:
    """Send raw bytes. Return the status, or 0 if the connection was closed without an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)
        received = b""
        while b"\r\n" not in received:
            chunk = connection.recv(4096)
            if not chunk:
                break
            received += chunk
    return int(received.split(b" ", 2)[1]) if received else 0


def test_headers_smuggle_nothing_in(socket_server: int, still_token: Token) -> None:
    """Contract 0: raw bytes on a socket. Only one correct header is accepted."""
    good = still_token("customer-1")["Authorization"].encode()
    key = f"Bearer {KEY}".encode()

    def ask(*headers: bytes, target: bytes = METERS.encode()) -> int:
        lines = [b"GET " + target + b" HTTP/1.1", b"Host: meterport", b"Connection: close", *headers]
        return raw_status(socket_server, b"\r\n".join(lines) + b"\r\n\r\n")

    token = good.removeprefix(b"Bearer ")
    assert ask(b"Authorization: " + good) == 200
    assert ask(b"authorization:\t" + good + b" \t") in {200, 401}  # white space around a value does not belong to it
    assert ask(b"Authorization: bearer  " + token) == 200  # case N33: RFC 9110, 11.1 and 11.4
    refused = [
        [b"Authorization: " + good, b"Authorization: " + good],
        [b"Authorization: " + key, b"Authorization: " + good],
        [b"Authorization: " + good + b", " + good],
        [b"Authorization: Bearer\t" + token],
        [b"Authorization: Bearer " + token + b" x"],
        [b"Authorization: Bearer\xc2\xa0" + token],
        [b"Authorization: Bearer " + token.replace(b"o", b"\xd0\xbe", 1)],  # a Cyrillic letter
        [b"Authorization: Bearer " + token + b"\xff"],
        [b"Authorization: " + token],
        [b"Authorization : " + good],
        [b"Authorization: Basic x\r\n " + good],
        [b"X: y\rAuthorization: " + good],
        [b"X: y\nX-Forwarded-Authorization: " + good],
        [b"X-Authorization: " + good],
        [b"Proxy-Authorization: " + good],
        [b"Cookie: token=" + token + b"; Authorization=" + good],
        [b"Authorization: Bearer " + token[:20] + b"\0" + token[20:]],
    ]
    for headers in refused:
        assert ask(*headers) in {400, 401, 0}, headers
    for target in (b"?token=" + token, b"?access_token=" + token, b"?authorization=" + token, b"?Authorization=x"):
        assert ask(target=METERS.encode() + target) == 401, target
    encoded = quote(f"\r\nAuthorization: {good.decode()}\r\n").encode()
    assert ask(target=METERS.encode() + encoded) in {401, 404}
    assert ask(target=METERS.encode() + b"?x=" + encoded) == 401
    assert ask(b"X: " + encoded) == 401


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
