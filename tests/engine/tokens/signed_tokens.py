"""Tokens of these tests: their keys, their clock, how they are signed, and how they are refused."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from itsdangerous import URLSafeSerializer

from engine.config.settings import PortalSettings
from engine.errors import Unauthorized
from engine.store.clickhouse import Store
from engine.tokens.portal_tokens import PortalTokens

NOON = datetime(2090, 3, 1, 12, tzinfo=UTC)  # in the future: the table forgets expired tokens
KEY = "the-key-of-2025-with-32-characters"
OLD_KEY = "the-key-of-2024-with-32-characters"


class StoppedClock:
    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **duration: float) -> None:
        self.at += timedelta(**duration)


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
