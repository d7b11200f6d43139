"""Portal tokens: which are accepted, until when, and the answer to a changed, foreign or revoked token."""

import base64
import hashlib
import itertools
import random
import re
import stat
import string
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from itsdangerous import URLSafeSerializer

from engine.config.loading import load_settings
from engine.config.settings import PortalSettings, Settings
from engine.errors import ConfigurationError, InvalidRequest, Unauthorized
from engine.store.clickhouse import Store
from engine.tokens.portal_tokens import PortalTokens, TokenClaims, TokenRecord
from engine.tokens.signing_keys import load_token_keys
from tests.harness.tokens import with_wrong_signature

pytestmark = pytest.mark.thorough

NOON = datetime(2090, 3, 1, 12, tzinfo=UTC)  # in the future: the table forgets expired tokens
KEY = "the-key-of-2025-with-32-characters"
OLD_KEY = "the-key-of-2024-with-32-characters"
BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


class StoppedClock:
    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **duration: float) -> None:
        self.at += timedelta(**duration)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def tokens(store: Store, clock: StoppedClock) -> PortalTokens:
    return portal_tokens(store, clock)


def portal_tokens(store: Store, clock: StoppedClock, keys: Sequence[str] = (KEY,)) -> PortalTokens:
    return PortalTokens(store, keys, PortalSettings(), clock)


def refusal(tokens: PortalTokens, token: str) -> str:
    with pytest.raises(Unauthorized) as refused:
        tokens.verify(token)
    return str(refused.value)


def signed(payload: object, key: str = KEY, salt: str = "meterport.portal-token.1") -> str:
    """Sign any payload as a token is signed."""
    kwargs = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    return "om_portal_" + URLSafeSerializer([key], salt=salt, signer_kwargs=kwargs).dumps(payload)


def payload(
    subject: object = "customer-1", slugs: object = None, expires_ms: object = 3_792_139_200_000
) -> list[object]:
    return ["01JN8Z0000000000000000000A", subject, slugs, 3_792_052_800_000, expires_ms]


# --- issued and verified ----------------------------------------------------------------------------------------------


def test_a_token_says_what_it_was_issued_for(tokens: PortalTokens) -> None:
    record, token = tokens.create("customer-1", ["tokens_total", "requests"], NOON + timedelta(hours=2))

    claims = tokens.verify(token)

    assert token.startswith("om_portal_")
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", record.id)
    assert claims == TokenClaims(
        record.id, "customer-1", ("tokens_total", "requests"), datetime(2090, 3, 1, 14, tzinfo=UTC)
    )
    assert record == TokenRecord(
        record.id, "customer-1", ("tokens_total", "requests"), NOON, datetime(2090, 3, 1, 14, tzinfo=UTC), None
    )


def test_a_token_without_slugs_allows_every_meter_and_one_with_slugs_only_these(tokens: PortalTokens) -> None:
    open_claims = tokens.verify(tokens.create("customer-1", None, None)[1])
    narrow_claims = tokens.verify(tokens.create("customer-1", ["requests"], None)[1])

    assert open_claims.allowed_meter_slugs is None
    assert open_claims.allows("requests")
    assert open_claims.allows("tokens_total")
    assert narrow_claims.allows("requests")
    assert not narrow_claims.allows("tokens_total")
    assert not narrow_claims.allows("")


def test_a_token_lives_a_day_unless_it_names_its_expiry(tokens: PortalTokens) -> None:
    record, _ = tokens.create("customer-1", None, None)

    assert record.expires_at == datetime(2090, 3, 2, 12, tzinfo=UTC)


def test_an_expiry_keeps_its_instant_across_offsets_and_is_cut_to_the_millisecond(tokens: PortalTokens) -> None:
    wanted = datetime(2090, 3, 1, 15, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=1)))

    record, token = tokens.create("customer-1", None, wanted)

    assert record.expires_at == datetime(2090, 3, 1, 14, 0, 0, 123_000, tzinfo=UTC)
    assert tokens.verify(token).expires_at == record.expires_at


@pytest.mark.parametrize("subject", ["Kundin ü", "客户", "a.b/c:d", "😀" * 512, "x" * 2048])
def test_a_subject_comes_back_as_it_was_given(tokens: PortalTokens, subject: str) -> None:
    _, token = tokens.create(subject, None, None)

    assert tokens.verify(token).subject == subject
    assert token.isascii()


# --- refused at creation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "slugs", "expires_at", "message"),
    [
        ("", None, None, "subject is required"),
        ("a\nb", None, None, "subject holds a control character"),
        ("a\x85b", None, None, "subject holds a control character"),
        ("ü" * 1025, None, None, "subject is longer than 2048 bytes"),
        ("customer-1", [], None, "slug filter cannot be an empty array when provided"),
        ("customer-1", ["requests", ""], None, "allowed meter slug cannot be empty"),
        ("customer-1", None, NOON, "expiration date must be in the future"),
        ("customer-1", None, NOON + timedelta(microseconds=999), "expiration date must be in the future"),
        ("customer-1", None, NOON - timedelta(days=1), "expiration date must be in the future"),
        ("customer-1", None, NOON + timedelta(days=366), "expiration date must be at most 31536000 seconds ahead"),
        ("customer-1", None, datetime(2090, 3, 2), "expiration date must carry a time zone offset"),
    ],
)
def test_an_unusable_request_is_refused_and_leaves_nothing(
    tokens: PortalTokens, subject: str, slugs: list[str] | None, expires_at: datetime | None, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        tokens.create(subject, slugs, expires_at)

    assert str(refused.value) == message
    assert tokens.list(None, 100) == []


def test_the_longest_life_allowed_is_taken(tokens: PortalTokens) -> None:
    record, _ = tokens.create("customer-1", None, NOON + timedelta(days=365))

    assert record.expires_at == datetime(2091, 3, 1, 12, tzinfo=UTC)


def test_slugs_that_make_a_token_too_long_are_refused(tokens: PortalTokens) -> None:
    generator = random.Random(7)  # noqa: S311
    slugs = ["".join(generator.choices(string.ascii_lowercase, k=64)) for _ in range(200)]

    with pytest.raises(InvalidRequest, match="longer than 8192 bytes"):
        tokens.create("customer-1", slugs, None)

    assert tokens.list(None, 100) == []


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


# --- expiry -----------------------------------------------------------------------------------------------------------


def test_a_token_is_good_until_the_millisecond_before_its_expiry(tokens: PortalTokens, clock: StoppedClock) -> None:
    _, token = tokens.create("customer-1", None, NOON + timedelta(seconds=10))

    clock.advance(seconds=9, milliseconds=999)
    assert tokens.verify(token).subject == "customer-1"

    clock.advance(milliseconds=1)
    assert refusal(tokens, token) == "invalid token: expired"


def test_a_bad_signature_is_told_before_expiry_and_expiry_before_revocation(
    tokens: PortalTokens, clock: StoppedClock
) -> None:
    record, token = tokens.create("customer-1", None, NOON + timedelta(seconds=10))
    tokens.invalidate(record.id, None)

    assert refusal(tokens, token) == "invalid token: revoked"

    clock.advance(seconds=10)

    assert refusal(tokens, token) == "invalid token: expired"
    assert refusal(tokens, with_wrong_signature(token)) == "invalid token: bad signature"


# --- revocation -------------------------------------------------------------------------------------------------------


def test_revoking_by_id_ends_that_token_alone(tokens: PortalTokens) -> None:
    record, token = tokens.create("customer-1", None, None)
    _, other = tokens.create("customer-1", None, None)

    tokens.invalidate(record.id, None)

    assert refusal(tokens, token) == "invalid token: revoked"
    assert tokens.verify(other).subject == "customer-1"


def test_revoking_by_subject_ends_its_tokens_so_far_and_no_others(tokens: PortalTokens) -> None:
    before = [tokens.create("customer-1", None, None)[1] for _ in range(3)]
    _, other = tokens.create("customer-10", None, None)

    tokens.invalidate(None, "customer-1")
    _, after = tokens.create("customer-1", None, None)
    tokens.refresh()

    assert [refusal(tokens, token) for token in before] == ["invalid token: revoked"] * 3
    assert tokens.verify(after).subject == "customer-1"
    assert tokens.verify(other).subject == "customer-10"


def test_an_id_and_a_subject_together_revoke_both(tokens: PortalTokens) -> None:
    record, one = tokens.create("customer-1", None, None)
    _, two = tokens.create("customer-2", None, None)

    tokens.invalidate(record.id, "customer-2")

    assert refusal(tokens, one) == "invalid token: revoked"
    assert refusal(tokens, two) == "invalid token: revoked"


def test_revoking_again_or_what_does_not_exist_changes_nothing(tokens: PortalTokens, clock: StoppedClock) -> None:
    record, _ = tokens.create("customer-1", None, None)
    tokens.invalidate(record.id, None)
    clock.advance(minutes=1)

    tokens.invalidate(record.id, None)
    tokens.invalidate(None, "customer-1")
    tokens.invalidate("01ARZ3NDEKTSV4RRFFQ69G5FAV", None)
    tokens.invalidate(None, "nobody")

    assert [listed.revoked_at for listed in tokens.list(None, 100)] == [NOON]


@pytest.mark.parametrize(
    ("id_", "subject", "message"),
    [
        (None, None, "either id or subject must be provided"),
        ("", None, "id cannot be empty"),
        (None, "", "subject cannot be empty"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "", "subject cannot be empty"),
    ],
)
def test_an_invalidation_names_what_it_is_about(
    tokens: PortalTokens, id_: str | None, subject: str | None, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        tokens.invalidate(id_, subject)

    assert str(refused.value) == message


def test_another_process_honours_a_revocation_from_its_next_refresh_on(store: Store, clock: StoppedClock) -> None:
    here, there = portal_tokens(store, clock), portal_tokens(store, clock)
    _, token = here.create("customer-1", None, None)
    assert there.verify(token).subject == "customer-1"

    here.invalidate(None, "customer-1")
    there.refresh()

    assert refusal(there, token) == "invalid token: revoked"


def test_a_process_that_starts_knows_what_was_revoked_before(store: Store, clock: StoppedClock) -> None:
    here = portal_tokens(store, clock)
    record, token = here.create("customer-1", None, None)
    here.invalidate(record.id, None)

    assert refusal(portal_tokens(store, clock), token) == "invalid token: revoked"


def test_a_token_revoked_elsewhere_and_again_here_is_refused_here_at_once(store: Store, clock: StoppedClock) -> None:
    here, there = portal_tokens(store, clock), portal_tokens(store, clock)
    record, token = here.create("customer-1", None, None)
    there.invalidate(record.id, None)

    here.invalidate(record.id, None)

    assert refusal(here, token) == "invalid token: revoked"


class LingeringStore(Store):
    """A store whose answers are delayed once `lingering` is set."""

    def __init__(self, store: Store) -> None:
        self._inner = store
        self.lingering = False
        self.answered = threading.Event()

    def rows(self, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
        rows = self._inner.rows(statement, **parameters)
        if self.lingering:
            self.lingering = False
            self.answered.set()
            time.sleep(0.3)
        return rows

    def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str | None = None
    ) -> None:
        self._inner.insert_rows(table, columns, rows, token)


def test_a_refresh_that_began_before_a_revocation_does_not_forget_it(store: Store, clock: StoppedClock) -> None:
    lingering = LingeringStore(store)
    tokens = portal_tokens(lingering, clock)
    record, token = tokens.create("customer-1", None, None)
    lingering.lingering = True
    poller = threading.Thread(target=tokens.refresh)

    poller.start()
    assert lingering.answered.wait(10)
    tokens.invalidate(record.id, None)
    poller.join()

    assert refusal(tokens, token) == "invalid token: revoked"


# --- listed -----------------------------------------------------------------------------------------------------------


def test_tokens_are_listed_newest_first_with_their_fate_and_without_their_text(
    tokens: PortalTokens, clock: StoppedClock
) -> None:
    first, _ = tokens.create("customer-1", ["requests"], NOON + timedelta(hours=1))
    clock.advance(seconds=1)
    second, _ = tokens.create("customer-2", None, NOON + timedelta(hours=3))
    clock.advance(seconds=1)
    tokens.invalidate(second.id, None)
    clock.advance(hours=2)

    listed = tokens.list(None, 100)

    assert listed == [
        TokenRecord(
            second.id,
            "customer-2",
            (),
            datetime(2090, 3, 1, 12, 0, 1, tzinfo=UTC),
            datetime(2090, 3, 1, 15, tzinfo=UTC),
            datetime(2090, 3, 1, 12, 0, 2, tzinfo=UTC),
        ),
        TokenRecord(first.id, "customer-1", ("requests",), NOON, datetime(2090, 3, 1, 13, tzinfo=UTC), None),
    ]


def test_a_list_keeps_to_its_subject_and_its_limit(tokens: PortalTokens, clock: StoppedClock) -> None:
    ids = []
    for subject in ("customer-1", "customer-2", "customer-1", "it's \\ odd\u2028"):
        ids.append(tokens.create(subject, None, None)[0].id)
        clock.advance(seconds=1)

    assert [record.id for record in tokens.list("customer-1", 100)] == [ids[2], ids[0]]
    assert [record.id for record in tokens.list("customer-1", 1)] == [ids[2]]
    assert [record.id for record in tokens.list("it's \\ odd\u2028", 100)] == [ids[3]]
    assert [record.id for record in tokens.list(None, 2)] == [ids[3], ids[2]]
    assert tokens.list("nobody", 100) == []


def test_a_token_stays_listed_until_thirty_days_after_its_expiry(tokens: PortalTokens, clock: StoppedClock) -> None:
    tokens.create("customer-1", None, NOON + timedelta(days=1))

    clock.advance(days=31, milliseconds=-1)
    assert len(tokens.list(None, 100)) == 1

    clock.advance(milliseconds=1)
    assert tokens.list(None, 100) == []


# --- the signing key --------------------------------------------------------------------------------------------------


def keyless(directory: Path) -> Settings:
    return load_settings(overrides={"data_dir": directory})


def test_configured_keys_are_taken_in_their_order_and_none_is_made(tmp_path: Path) -> None:
    settings = load_settings(overrides={"data_dir": tmp_path, "portal": {"token_keys": [KEY, OLD_KEY]}})

    assert load_token_keys(settings) == [KEY, OLD_KEY]
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    made = load_token_keys(keyless(tmp_path / "data"))
    again = load_token_keys(keyless(tmp_path / "data"))

    kept = tmp_path / "data" / "portal_token_key"
    assert made == again == [kept.read_text()]
    assert len(made[0]) == 43
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert list(kept.parent.iterdir()) == [kept]


def test_two_directories_have_two_keys(tmp_path: Path) -> None:
    assert load_token_keys(keyless(tmp_path / "a")) != load_token_keys(keyless(tmp_path / "b"))


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    keys: list[str] = []

    def begin() -> None:
        start.wait()
        keys.extend(load_token_keys(keyless(tmp_path)))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["portal_token_key"]


@pytest.mark.parametrize(
    "content", [b"", b"short\n", b"a" * 43, b"\xff" * 40], ids=["empty", "short", "weak", "not ASCII"]
)
def test_a_key_file_that_holds_no_key_stops_the_process(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "portal_token_key").write_bytes(content)
    (tmp_path / "portal_token_key").chmod(0o600)

    with pytest.raises(ConfigurationError, match="portal_token_key"):
        load_token_keys(keyless(tmp_path))


def test_a_directory_that_cannot_hold_a_key_stops_the_process(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the directory should be")

    with pytest.raises(ConfigurationError, match="data_dir: cannot store a token key"):
        load_token_keys(keyless(tmp_path / "data"))
