"""Portal tokens: a customer's frontend sends one to query that customer's usage, and nothing else.

    om_portal_ <base64url: id, subject, slugs, issued, expires> . <base64url: HMAC-SHA-256>

Owns: creating, verifying, listing and invalidating tokens. A token is checked without a query: first its signature,
then its expiry, then the invalidations (engine/tokens/invalidations.py), which each process has in memory since its
last `refresh`. The store has a record of each token that was issued or invalidated, but never its text. No error and no
log line quotes a token.
Limits: a token has at most 8 KiB. Other processes apply an invalidation after their next `refresh`.
Source: docs/design.md "Tokens"; docs/contract.md 1.1 and 1.2.
"""

import binascii
import dataclasses
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from itsdangerous import BadData, BadSignature, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode

from engine.config.settings import PortalSettings
from engine.errors import InvalidRequest, Unauthorized
from engine.ids import new_ulid
from engine.instants import Clock, Instant, milliseconds, of_milliseconds, utc_now
from engine.store import sql
from engine.store.clickhouse import Store
from engine.tokens.invalidations import Invalidation, Invalidations
from engine.tokens.requests import check_invalidation, check_slugs, check_subject

PREFIX = "om_portal_"
TOKEN_BYTES = 8192
_SALT = "meterport.portal-token.1"  # It must change when the form of the payload changes.
_TOKEN = re.compile(rf"{PREFIX}\.?[A-Za-z0-9_-]+\.(?P<signature>[A-Za-z0-9_-]{{43}})\Z", re.ASCII)
_COLUMNS = ("id", "version", "subject", "allowed_meter_slugs", "created_at", "expires_at", "revoked_at")
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000)]  # Before the year 10000.


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims of a verified token. `allowed_meter_slugs`: None means every meter."""

    id: str
    subject: str
    allowed_meter_slugs: tuple[str, ...] | None
    expires_at: datetime

    def allows(self, slug: str) -> bool:
        """Return whether the token may query a meter with this slug, whether or not that meter exists."""
        return self.allowed_meter_slugs is None or slug in self.allowed_meter_slugs


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """The record of an issued token, without its text. `allowed_meter_slugs`: empty means every meter."""

    id: str
    subject: str
    allowed_meter_slugs: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class _Payload(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The signed payload: a JSON array of these members in this order."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    subject: Annotated[str, msgspec.Meta(min_length=1)]
    allowed_meter_slugs: list[str] | None
    issued_ms: _Milliseconds
    expires_ms: _Milliseconds


class PortalTokens:
    """The tokens of one store. Thread-safe."""

    def __init__(self, store: Store, keys: Sequence[str], settings: PortalSettings, clock: Clock = utc_now) -> None:
        """Args: keys: the signing keys; the first signs, all verify."""
        self._store = store
        self._settings = settings
        self._clock = clock
        self._serializer = URLSafeSerializer(
            [*reversed(keys)],  # itsdangerous signs with the last key.
            salt=_SALT,
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )
        self._invalidations = Invalidations(store, settings.max_token_seconds, clock)

    def create(
        self, subject: str, allowed_meter_slugs: Sequence[str] | None, expires_at: datetime | None
    ) -> tuple[TokenRecord, str]:
        """Issue a token and return its record and its text. The record is stored first.

        Args: allowed_meter_slugs: None means every meter; it is not checked whether the meters exist.
            expires_at: None means the configured lifetime from now; it is rounded down to a millisecond.
        Raises: InvalidRequest: an argument is wrong; the message says how.
        """
        check_subject(subject)
        check_slugs(allowed_meter_slugs)
        now = self._clock()
        expiry = self._expiry(now, expires_at)
        record = TokenRecord(
            id=new_ulid(),
            subject=subject,
            allowed_meter_slugs=tuple(allowed_meter_slugs or ()),
            created_at=self._invalidations.next_issue(subject, now),
            expires_at=expiry,
            revoked_at=None,
        )
        token = self._sign(record)
        if len(token) > TOKEN_BYTES:
            raise InvalidRequest(f"allowed meter slugs make the token longer than {TOKEN_BYTES} bytes")
        self._write([(1, record)])
        return record, token

    def verify(self, token: str) -> TokenClaims:
        """Return the claims of a token. Only exactly the text that was issued is accepted, and only until it expires.

        No token is accepted for longer than `max_token_seconds` after its issue, whatever its own expiry: the setting
        may have been larger when it was issued.
        Raises: Unauthorized: the token is malformed, its signature is bad, or it is expired or invalidated.
        """
        payload = self._signed_payload(token)
        slugs = payload.allowed_meter_slugs
        claims = TokenClaims(
            payload.id, payload.subject, None if slugs is None else tuple(slugs), of_milliseconds(payload.expires_ms)
        )
        now_ms = milliseconds(self._clock())
        if now_ms >= min(payload.expires_ms, payload.issued_ms + self._settings.max_token_seconds * 1000):
            raise Unauthorized("invalid token: expired")
        if self._invalidations.is_invalidated(payload.id, payload.subject, payload.issued_ms):
            raise Unauthorized("invalid token: revoked")
        return claims

    def list(self, subject: str | None, limit: int) -> list[TokenRecord]:
        """Return the records of tokens, newest first; also invalidated and expired ones, up to 30 days after expiry.

        Args: subject: None means all subjects. limit: the largest number of records.
        """
        now_ms = milliseconds(self._clock())
        rows = self._store.rows(sql.statement("tokens/list"), subject=subject, now_ms=now_ms, limit=limit)
        return [self._with_invalidation(_versioned(row)[1]) for row in rows]

    def _with_invalidation(self, record: TokenRecord) -> TokenRecord:
        """Return a record whose `revoked_at` is set if any invalidation covers the token.

        Some invalidations do not change records, such as one of every token that was issued before an instant.
        """
        if record.revoked_at is not None:
            return record
        until = self._invalidations.invalidated_until(record.subject, milliseconds(record.created_at))
        return record if until is None else dataclasses.replace(record, revoked_at=until)

    def invalidate(self, id_: str | None, subject: str | None, issued_before: Instant | None = None) -> None:
        """Invalidate a token, all present tokens of a subject, or both; or all tokens issued before an instant.

        A token that is invalidated or expired stays so. The store needs no record of a token, because it may have been
        restored from an older copy.
        Raises: InvalidRequest: no argument is given, or one is empty or impossible.
        """
        now = self._clock()
        check_invalidation(id_, subject, issued_before, now)
        id_ = None if id_ is None else id_.upper()
        if issued_before is not None:
            until = of_milliseconds(max(0, issued_before.ceil_milliseconds - 1))
            self._invalidations.add([Invalidation("all", "", until)])
            return
        rows = self._store.rows(sql.statement("tokens/to_invalidate"), id=id_, subject=subject)
        tokens = [_versioned(row) for row in rows]
        self._invalidations.add(_new_invalidations(id_, subject, [record for _, record in tokens], now))
        self._write(
            [
                (version + 1, dataclasses.replace(record, revoked_at=now))
                for version, record in tokens
                if record.revoked_at is None
            ]
        )

    def refresh(self) -> None:
        """Read the invalidations from the store again. Call it twice a second if other processes may write to it."""
        self._invalidations.refresh()

    def _expiry(self, now: datetime, wanted: datetime | None) -> datetime:
        if wanted is None:
            return now + timedelta(seconds=self._settings.token_seconds)
        if wanted.tzinfo is None:
            raise InvalidRequest("expiration date must carry a time zone offset")
        expires_at = of_milliseconds(milliseconds(wanted))
        if expires_at <= now:
            raise InvalidRequest("expiration date must be in the future")
        maximum = self._settings.max_token_seconds
        if expires_at > now + timedelta(seconds=maximum):
            raise InvalidRequest(f"expiration date must be at most {maximum} seconds ahead")
        return expires_at

    def _sign(self, record: TokenRecord) -> str:
        slugs = list(record.allowed_meter_slugs) or None
        issued_ms, expires_ms = milliseconds(record.created_at), milliseconds(record.expires_at)
        return PREFIX + self._serializer.dumps([record.id, record.subject, slugs, issued_ms, expires_ms])

    def _signed_payload(self, token: str) -> _Payload:
        shape = _TOKEN.match(token) if len(token) <= TOKEN_BYTES else None
        if shape is None:
            raise Unauthorized("invalid token: malformed")
        if not _is_canonical(shape["signature"]):
            raise Unauthorized("invalid token: bad signature")
        try:
            return msgspec.convert(self._serializer.loads(token.removeprefix(PREFIX)), _Payload)
        except BadSignature:
            raise Unauthorized("invalid token: bad signature") from None
        except (BadData, msgspec.ValidationError):
            raise Unauthorized("invalid token: malformed") from None

    def _write(self, tokens: Sequence[tuple[int, TokenRecord]]) -> None:
        if tokens:
            self._store.insert_rows("portal_tokens", _COLUMNS, [_row(version, record) for version, record in tokens])


def _is_canonical(signature: str) -> bool:
    """Return whether a signature has the one text that Meterport writes for it.

    43 characters hold 258 bits and a signature has 256, so four texts decode to the same signature. The payload needs
    no such check, because its text is what is signed.
    """
    try:
        return hmac.compare_digest(base64_encode(base64_decode(signature)), signature.encode())
    except (BadData, binascii.Error):
        return False


def _new_invalidations(
    id_: str | None, subject: str | None, records: Sequence[TokenRecord], now: datetime
) -> list[Invalidation]:
    """Return the invalidations that end a token, all tokens of a subject, or both.

    Args: records: the tokens of these that the store has a record of. They may have been created later than `now`,
        because the clocks of processes differ.
    """
    found: list[Invalidation] = []
    if id_ is not None:
        expires_at = next((record.expires_at for record in records if record.id == id_), None)
        found.append(Invalidation("id", id_, now, expires_at))
    if subject is not None:
        issued = [record.created_at for record in records if record.subject == subject]
        found.append(Invalidation("subject", subject, max([now, *issued])))
    return found


def _row(version: int, record: TokenRecord) -> list[object]:
    return [
        record.id,
        version,
        record.subject,
        [*record.allowed_meter_slugs],
        record.created_at,
        record.expires_at,
        record.revoked_at,
    ]


def _versioned(row: tuple[Any, ...]) -> tuple[int, TokenRecord]:
    id_, version, subject, slugs, created_ms, expires_ms, revoked_ms = row
    revoked_at = None if revoked_ms is None else of_milliseconds(revoked_ms)
    return version, TokenRecord(
        id_, subject, tuple(slugs), of_milliseconds(created_ms), of_milliseconds(expires_ms), revoked_at
    )
