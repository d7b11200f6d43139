"""Portal tokens that are issued: what they say, which requests for one are refused, and how they are listed."""

import random
import re
import string
from datetime import UTC, datetime, timedelta, timezone

import pytest

from engine.errors import InvalidRequest
from engine.tokens.portal_tokens import PortalTokens, TokenClaims, TokenRecord
from tests.engine.tokens.signed_tokens import NOON, StoppedClock

pytestmark = pytest.mark.thorough


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
