"""The clock and the portal tokens of these tests."""

import pytest

from engine.store.clickhouse import Store
from engine.tokens.portal_tokens import PortalTokens
from tests.engine.tokens.signed_tokens import StoppedClock, portal_tokens


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def tokens(store: Store, clock: StoppedClock) -> PortalTokens:
    return portal_tokens(store, clock)
