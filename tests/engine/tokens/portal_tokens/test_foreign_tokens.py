"""Changed and foreign portal tokens: a text that was not signed by a listed key is refused."""

import base64
import itertools
import random
import string

import pytest
from itsdangerous import URLSafeSerializer

from engine.errors import Unauthorized
from engine.store.clickhouse import Store
from engine.tokens.portal_tokens import PortalTokens
from tests.engine.tokens.signed_tokens import KEY, OLD_KEY, StoppedClock, payload, portal_tokens, refusal, signed
from tests.harness.tokens import with_wrong_signature

pytestmark = pytest.mark.thorough

BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


# --- changed and foreign tokens ---------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_token_is_noticed(tokens: PortalTokens) -> None:
    _, token = tokens.create("customer-1", ["requests"], None)

    for at, bit in itertools.product(range(len(token)), range(8)):
        changed = token[:at] + chr(ord(token[at]) ^ (1 << bit)) + token[at + 1 :]

        assert refusal(tokens, changed) in {"invalid token: malformed", "invalid token: bad signature"}


def test_every_other_last_character_is_refused_though_some_decode_alike(tokens: PortalTokens) -> None:
    _, token = tokens.create("customer-1", None, None)
    signature = token.rsplit(".", 1)[1]
    alike = [
        letter
        for letter in BASE64URL
        if base64.urlsafe_b64decode(signature[:-1] + letter + "=") == base64.urlsafe_b64decode(signature + "=")
    ]

    assert len(alike) == 4
    for letter in set(BASE64URL) - {token[-1]}:
        assert refusal(tokens, token[:-1] + letter) == "invalid token: bad signature"


@pytest.mark.parametrize("addition", ["=", "==", "\n", " ", "A", ".", "%3D", "\0", "ü"])
def test_nothing_may_be_added_to_a_token(tokens: PortalTokens, addition: str) -> None:
    _, token = tokens.create("customer-1", None, None)
    head, signature = token.rsplit(".", 1)

    assert refusal(tokens, token + addition) == "invalid token: malformed"
    assert refusal(tokens, addition + token) == "invalid token: malformed"
    assert refusal(tokens, f"{head}{addition}.{signature}") in {
        "invalid token: malformed",
        "invalid token: bad signature",
    }


def test_every_truncated_token_is_malformed(tokens: PortalTokens) -> None:
    _, token = tokens.create("customer-1", None, None)

    assert {refusal(tokens, token[:length]) for length in range(len(token))} == {"invalid token: malformed"}


def test_the_signature_of_one_token_does_not_fit_another(tokens: PortalTokens) -> None:
    one, other = tokens.create("customer-1", None, None)[1], tokens.create("customer-2", None, None)[1]

    swapped = one.rsplit(".", 1)[0] + "." + other.rsplit(".", 1)[1]

    assert refusal(tokens, swapped) == "invalid token: bad signature"


@pytest.mark.parametrize(
    "forged",
    [
        signed(payload(), key="a-key-that-somebody-guessed"),
        signed(payload(), salt="itsdangerous"),
        signed(payload(), salt="meterport.portal-token"),
    ],
    ids=["other key", "default salt", "other salt"],
)
def test_a_token_signed_by_another_key_or_for_another_purpose_is_refused(tokens: PortalTokens, forged: str) -> None:
    assert tokens.verify(signed(payload())).subject == "customer-1"
    assert refusal(tokens, forged) == "invalid token: bad signature"


def test_a_token_signed_with_another_digest_is_refused(tokens: PortalTokens) -> None:
    sha1 = URLSafeSerializer([KEY], salt="meterport.portal-token.1", signer_kwargs={"key_derivation": "hmac"})

    assert refusal(tokens, f"om_portal_{sha1.dumps(payload())}") == "invalid token: malformed"


@pytest.mark.parametrize(
    "other",
    [
        {"subject": "customer-1"},
        "customer-1",
        None,
        [],
        payload()[:4],
        [*payload(), "more"],
        payload(subject=""),
        payload(subject=7),
        payload(slugs="requests"),
        payload(slugs=[1]),
        payload(expires_ms="3792139200000"),
        payload(expires_ms=3792139200000.5),
        payload(expires_ms=True),
        payload(expires_ms=-1),
        payload(expires_ms=10**18),
    ],
)
def test_what_is_signed_but_no_token_is_malformed(tokens: PortalTokens, other: object) -> None:
    assert refusal(tokens, signed(other)) == "invalid token: malformed"


def test_random_texts_are_refused(tokens: PortalTokens) -> None:
    generator = random.Random(42)  # noqa: S311
    for _ in range(1000):
        letters = generator.choice([BASE64URL + ".", string.printable, "aA0.-_= \n\0üÿ客😀\ud800"])
        text = "".join(generator.choices(letters, k=generator.randrange(200)))

        for token in (text, "om_portal_" + text, f"om_portal_{text}.{'A' * 43}"):
            assert refusal(tokens, token) in {"invalid token: malformed", "invalid token: bad signature"}


@pytest.mark.parametrize("length", [8193, 10_000_000])
def test_an_oversized_token_is_malformed_at_once(tokens: PortalTokens, length: int) -> None:
    token = "om_portal_" + "A" * (length - 54) + "." + "A" * 43

    assert len(token) == length
    assert refusal(tokens, token) == "invalid token: malformed"


def test_a_jwt_is_malformed(tokens: PortalTokens) -> None:
    assert refusal(tokens, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln") == "invalid token: malformed"


def test_no_refusal_quotes_the_token(tokens: PortalTokens) -> None:
    _, token = tokens.create("customer-1", None, None)

    with pytest.raises(Unauthorized) as refused:
        tokens.verify(with_wrong_signature(token))

    assert token[10:30] not in repr(refused.value)
    assert refused.value.__suppress_context__


# --- keys that change -------------------------------------------------------------------------------------------------


def test_an_old_key_verifies_while_it_is_listed_and_the_newest_signs(store: Store, clock: StoppedClock) -> None:
    _, old = portal_tokens(store, clock, [OLD_KEY]).create("customer-1", None, None)

    both = portal_tokens(store, clock, [KEY, OLD_KEY])
    _, new = both.create("customer-2", None, None)
    after = portal_tokens(store, clock, [KEY])

    assert both.verify(old).subject == "customer-1"
    assert both.verify(new).subject == "customer-2"
    assert after.verify(new).subject == "customer-2"
    assert refusal(after, old) == "invalid token: bad signature"
    assert refusal(portal_tokens(store, clock, [OLD_KEY]), new) == "invalid token: bad signature"
