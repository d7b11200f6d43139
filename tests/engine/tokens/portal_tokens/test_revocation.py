"""A portal token is accepted until its expiry, or until it is revoked, here or by another process."""

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from engine.errors import InvalidRequest
from engine.store.clickhouse import Store
from engine.tokens.portal_tokens import PortalTokens
from tests.engine.tokens.signed_tokens import NOON, StoppedClock, portal_tokens, refusal
from tests.harness.tokens import with_wrong_signature

pytestmark = pytest.mark.thorough


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
