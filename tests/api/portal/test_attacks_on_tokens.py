"""Attacks on tokens: forged, changed, expired and revoked tokens open nothing.

Each attack goes through the whole application on a real store. It must not be let in, must not be answered by 500, and
must not learn more than what is public.
"""

import dataclasses
import hashlib
import itertools
import json
import random
import string
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from itsdangerous import URLSafeSerializer

from api.app import create_app
from api.dependencies import Dependencies
from engine.errors import Unauthorized
from engine.tokens.portal_tokens import PREFIX, PortalTokens
from tests.api.conftest import KEY, SIGNING_KEY, MemoryLog, Token, build
from tests.api.portal.conftest import METERS, text_of
from tests.harness.api_client import ApiClient

pytestmark = pytest.mark.thorough

REFUSALS = {
    "invalid token: malformed",
    "invalid token: bad signature",
    "invalid token: expired",
    "invalid token: revoked",
    "invalid authorization header",
    "missing authorization header",
}


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
