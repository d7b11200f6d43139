"""Invalidations hold for tokens without a row in the store, and do not depend on the clocks of processes.

Case S3: after a restore the store does not know the tokens that were issued after the backup.
"""

from datetime import timedelta

import pytest

from engine.config.settings import PortalSettings
from engine.errors import InvalidRequest, Unauthorized
from engine.instants import Instant, milliseconds, parse_instant
from engine.store.clickhouse import Store
from engine.tokens.invalidations import Invalidations
from engine.tokens.portal_tokens import PortalTokens
from tests.engine.tokens.signed_tokens import KEY, NOON, StoppedClock, signed

UNRECORDED = "01JN8Z0000000000000000000A"
NOON_MS = milliseconds(NOON)
HOUR_MS = 3_600_000


def on(store: Store, clock: StoppedClock, **settings: int) -> PortalTokens:
    return PortalTokens(store, [KEY], PortalSettings(**settings), clock)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def tokens(store: Store, clock: StoppedClock) -> PortalTokens:
    return on(store, clock)


def unrecorded(subject: str = "leaver", issued_ms: int = NOON_MS - HOUR_MS, id_: str = UNRECORDED) -> str:
    """Return a token that was issued here, but has no row in the store, as after restoring an older backup."""
    return signed([id_, subject, None, issued_ms, issued_ms + 86_400_000])


def opens(tokens: PortalTokens, token: str) -> bool:
    try:
        tokens.verify(token)
    except Unauthorized as refused:
        assert str(refused) == "invalid token: revoked"
        return False
    return True


def test_a_token_without_a_row_is_revoked_by_its_id(store: Store, tokens: PortalTokens, clock: StoppedClock) -> None:
    there, token = on(store, clock), unrecorded()
    assert opens(tokens, token)

    tokens.invalidate(UNRECORDED, None)
    there.refresh()

    assert not opens(tokens, token)
    assert not opens(there, token)
    assert not opens(on(store, clock), token)
    assert opens(tokens, unrecorded(id_="01JN8Z0000000000000000000B"))


def test_tokens_without_a_row_are_revoked_by_their_subject(
    store: Store, tokens: PortalTokens, clock: StoppedClock
) -> None:
    there, token = on(store, clock), unrecorded()

    tokens.invalidate(None, "leaver")
    there.refresh()

    assert not opens(tokens, token)
    assert not opens(there, token)
    assert not opens(tokens, unrecorded(issued_ms=NOON_MS))
    assert opens(tokens, unrecorded(subject="stayer"))


def test_what_was_issued_before_an_instant_is_revoked_to_the_millisecond(
    store: Store, tokens: PortalTokens, clock: StoppedClock
) -> None:
    """This is needed after a restore: it holds for all subjects, with or without a row."""
    clock.advance(hours=-1)
    _, on_record = tokens.create("customer-1", None, None)
    clock.advance(hours=1)
    there = on(store, clock)

    tokens.invalidate(None, None, parse_instant("2090-03-01T11:00:00.001Z"))
    there.refresh()

    for process in (tokens, there, on(store, clock)):
        assert not opens(process, on_record)
        assert not opens(process, unrecorded(issued_ms=NOON_MS - HOUR_MS))
        assert opens(process, unrecorded(issued_ms=NOON_MS - HOUR_MS + 1))
    assert [record.revoked_at is not None for record in tokens.list(None, 100)] == [True]
    assert [record.revoked_at is not None for record in there.list(None, 100)] == [True]


def test_an_instant_finer_than_a_millisecond_reaches_the_millisecond_it_lies_in(tokens: PortalTokens) -> None:
    tokens.invalidate(None, None, parse_instant("2090-03-01T11:00:00.0000001Z"))

    assert not opens(tokens, unrecorded(issued_ms=NOON_MS - HOUR_MS))
    assert opens(tokens, unrecorded(issued_ms=NOON_MS - HOUR_MS + 1))


def test_a_token_made_in_the_millisecond_of_an_invalidation_is_good(
    store: Store, tokens: PortalTokens, clock: StoppedClock
) -> None:
    there = on(store, clock)

    tokens.invalidate(None, "leaver")
    _, here_after = tokens.create("leaver", None, None)
    _, there_after = there.create("leaver", None, None)
    there.refresh()

    for process in (tokens, there):
        assert opens(process, here_after)
        assert opens(process, there_after)


@pytest.mark.parametrize("seconds", [-5, -0.001, 0.001, 5, 3600])
def test_clocks_that_differ_let_no_earlier_token_in_and_lock_no_later_one_out(store: Store, seconds: float) -> None:
    """The other process is `seconds` ahead of the one that invalidates. It creates one token before and one after."""
    here, there = on(store, StoppedClock()), on(store, StoppedClock(NOON + timedelta(seconds=seconds)))
    _, before = there.create("leaver", None, None)

    here.invalidate(None, "leaver")
    _, after = there.create("leaver", None, None)
    here.refresh()
    there.refresh()

    for process in (here, there):
        assert not opens(process, before)
        assert opens(process, after)


def test_a_later_invalidation_of_a_subject_goes_further_than_an_earlier_one(
    tokens: PortalTokens, clock: StoppedClock
) -> None:
    tokens.invalidate(None, "leaver")
    clock.advance(minutes=1)
    _, second = tokens.create("leaver", None, None)
    clock.advance(minutes=1)

    tokens.invalidate(None, "leaver")
    tokens.refresh()

    assert not opens(tokens, second)


def test_an_invalidation_is_kept_as_long_as_a_token_can_live_and_no_longer_in_memory(
    store: Store, clock: StoppedClock
) -> None:
    """No token lives longer than `max_token_seconds`, even if it was issued while that setting was larger."""
    tokens = on(store, clock, max_token_seconds=86_400)
    long_ago = signed([UNRECORDED, "leaver", None, NOON_MS, NOON_MS + 300 * 86_400_000])
    tokens.invalidate(UNRECORDED, "leaver")
    clock.advance(hours=23)
    tokens.refresh()
    assert not opens(tokens, long_ago)

    clock.advance(hours=30)
    tokens.refresh()

    with pytest.raises(Unauthorized, match="expired"):
        tokens.verify(long_ago)
    kept = Invalidations(store, 86_400, clock)
    assert len(kept) == 0
    assert not opens(on(store, clock), long_ago)  # another process accepts tokens of a year


def test_an_instant_in_the_future_is_refused(tokens: PortalTokens) -> None:
    with pytest.raises(InvalidRequest, match="issuedBefore must not be in the future"):
        tokens.invalidate(None, None, Instant(NOON_MS * 1_000_000 + 1))


@pytest.mark.parametrize(("id_", "subject"), [(UNRECORDED, None), (None, "leaver")])
def test_an_instant_stands_alone(tokens: PortalTokens, id_: str | None, subject: str | None) -> None:
    with pytest.raises(
        InvalidRequest, match="issuedBefore applies to every token: it cannot be combined with id or subject"
    ):
        tokens.invalidate(id_, subject, Instant(0))


@pytest.mark.parametrize("id_", ["nonsense", "01JN8Z000000000000000000U0", UNRECORDED + "B", "8" + UNRECORDED[1:]])
def test_an_id_that_no_token_can_have_is_refused(tokens: PortalTokens, id_: str) -> None:
    with pytest.raises(InvalidRequest, match="id must be a ULID"):
        tokens.invalidate(id_, None)
