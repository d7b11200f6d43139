"""Portal tokens: what a customer's frontend shows to ask for that customer's usage, and nothing else.

    om_portal_ <base64url: id, subject, slugs, issued, expires> . <base64url: HMAC-SHA-256>

Owns: making, verifying, listing and revoking them, and the signing key where none is configured. A token is checked
without a query: its signature, then its expiry, then the ids revoked so far, of which each process keeps a picture
that `refresh` renews. The store holds what was issued and revoked, never a token; no error or log line quotes one.
Limits: 8 KiB a token. Another process honours a revocation at its next `refresh`.
Source: docs/design.md "Tokens"; docs/contract.md 1.1, 1.2.
"""

import binascii
import dataclasses
import hashlib
import hmac
import os
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
from itsdangerous import BadData, BadSignature, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode

from engine import sql
from engine.clock import Clock, milliseconds, utc_now
from engine.errors import ConfigurationError, InvalidRequest, Unauthorized
from engine.ids import new_ulid
from engine.settings import PortalSettings, Settings
from engine.store import Store
from engine.subjects import key_problem

PREFIX = "om_portal_"
TOKEN_BYTES = 8192
_SALT = "meterport.portal-token.1"  # changes with the shape of the payload
_TOKEN = re.compile(rf"{PREFIX}\.?[A-Za-z0-9_-]+\.(?P<signature>[A-Za-z0-9_-]{{43}})\Z", re.ASCII)
_KEY_FILE = "portal_token_key"
_KEY_CHARACTERS = 16
_COLUMNS = ("id", "version", "subject", "allowed_meter_slugs", "created_at", "expires_at", "revoked_at")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000)]  # before the year 10000


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `allowed_meter_slugs`: None is every meter."""

    id: str
    subject: str
    allowed_meter_slugs: tuple[str, ...] | None
    expires_at: datetime

    def allows(self, slug: str) -> bool:
        """Whether the token may ask for a meter, be there one of that name or not."""
        return self.allowed_meter_slugs is None or slug in self.allowed_meter_slugs


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as it was issued, without its text. `allowed_meter_slugs`: empty is every meter."""

    id: str
    subject: str
    allowed_meter_slugs: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class _Payload(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What is signed, as a JSON array in this order."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    subject: Annotated[str, msgspec.Meta(min_length=1)]
    allowed_meter_slugs: list[str] | None
    issued_ms: _Milliseconds
    expires_ms: _Milliseconds


class PortalTokens:
    """The tokens of one store. Thread-safe."""

    def __init__(self, store: Store, keys: Sequence[str], settings: PortalSettings, clock: Clock = utc_now) -> None:
        """Args: keys: the first signs, all verify."""
        self._store = store
        self._settings = settings
        self._clock = clock
        self._serializer = URLSafeSerializer(
            [*reversed(keys)],  # itsdangerous signs with the last
            salt=_SALT,
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )
        self._picturing = threading.Lock()
        self._revoked: frozenset[str] = frozenset()
        self.refresh()

    def create(
        self, subject: str, allowed_meter_slugs: Sequence[str] | None, expires_at: datetime | None
    ) -> tuple[TokenRecord, str]:
        """Issue a token; it is on record before its text is returned.

        Args: allowed_meter_slugs: None is every meter; whether there are such meters is not looked up.
            expires_at: None is the configured life from now; finer than a millisecond is cut.
        Raises: InvalidRequest: what is wrong with an argument.
        """
        check_subject(subject)
        _check_slugs(allowed_meter_slugs)
        now = self._clock()
        record = TokenRecord(
            id=new_ulid(),
            subject=subject,
            allowed_meter_slugs=tuple(allowed_meter_slugs or ()),
            created_at=now,
            expires_at=self._expiry(now, expires_at),
            revoked_at=None,
        )
        token = self._sign(record)
        if len(token) > TOKEN_BYTES:
            raise InvalidRequest(f"allowed meter slugs make a token longer than {TOKEN_BYTES} bytes")
        self._write([(1, record)])
        return record, token

    def verify(self, token: str) -> Claims:
        """Return what a token says. Exactly the text that was issued verifies, until the instant it expires.

        Raises: Unauthorized: it is malformed, its signature is bad, it is expired, or revoked.
        """
        payload = self._signed_payload(token)
        slugs = payload.allowed_meter_slugs
        claims = Claims(payload.id, payload.subject, None if slugs is None else tuple(slugs), _at(payload.expires_ms))
        if self._clock() >= claims.expires_at:
            raise Unauthorized("invalid token: expired")
        if claims.id in self._revoked:
            raise Unauthorized("invalid token: revoked")
        return claims

    def list(self, subject: str | None, limit: int) -> list[TokenRecord]:
        """Return tokens, newest first, also revoked and expired ones until 30 days after they expired.

        Args: subject: None is everybody's.
        """
        now_ms = milliseconds(self._clock())
        rows = self._store.rows(sql.statement("tokens/list"), subject=subject, now_ms=now_ms, limit=limit)
        return [_versioned(row)[1] for row in rows]

    def invalidate(self, id_: str | None, subject: str | None) -> None:
        """Revoke one token, or all tokens a subject has now, or both. What is revoked, expired or unknown stays so.

        Raises: InvalidRequest: neither is given, or an empty one.
        """
        if id_ is None and subject is None:
            raise InvalidRequest("either id or subject must be provided")
        if id_ == "":
            raise InvalidRequest("id cannot be empty")
        if subject == "":
            raise InvalidRequest("subject cannot be empty")
        now = self._clock()
        with self._picturing:
            rows = self._store.rows(sql.statement("tokens/revocable"), id=id_, subject=subject)
            tokens = [_versioned(row) for row in rows]
            self._write(
                [
                    (version + 1, dataclasses.replace(record, revoked_at=now))
                    for version, record in tokens
                    if record.revoked_at is None
                ]
            )
            self._revoked |= {record.id for _, record in tokens}

    def refresh(self) -> None:
        """Take a new picture of the revoked tokens. Run it twice a second."""
        with self._picturing:  # or a picture taken before a revocation would replace the one with it
            rows = self._store.rows(sql.statement("tokens/revoked"), now_ms=milliseconds(self._clock()))
            self._revoked = frozenset(id_ for (id_,) in rows)

    def _expiry(self, now: datetime, wanted: datetime | None) -> datetime:
        if wanted is None:
            return now + timedelta(seconds=self._settings.token_seconds)
        if wanted.tzinfo is None:
            raise InvalidRequest("expiration date must carry a time zone offset")
        expires_at = _at(milliseconds(wanted))
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


def load_token_keys(settings: Settings) -> list[str]:
    """Return the signing keys, newest first: the configured ones, else the one kept in the data directory.

    That one is made the first time, for this user's eyes only. Processes that start together end up with the same.
    Raises: ConfigurationError: it cannot be kept or read.
    """
    configured = [key.get_secret_value() for key in settings.portal.token_keys]
    return configured or [_kept_key(settings.data_dir)]


def _kept_key(directory: Path) -> str:
    path = directory / _KEY_FILE
    try:
        if not path.exists():
            directory.mkdir(parents=True, exist_ok=True)
            _keep(path, secrets.token_urlsafe(32))
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"data_dir: cannot keep a token key in {path}: {error}") from None
    if len(key) < _KEY_CHARACTERS:
        raise ConfigurationError(f"data_dir: {path} holds fewer than {_KEY_CHARACTERS} characters")
    return key


def _keep(path: Path, key: str) -> None:
    """Make the file, whole and on disk, unless another process is first."""
    whole = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    file = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, key.encode())
        os.fsync(file)
        path.hardlink_to(whole)  # fails if there is one, as O_EXCL would, but never shows a file half written
    except FileExistsError:
        return
    finally:
        os.close(file)
        whole.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_subject(subject: str) -> None:
    """Refuse a subject no event can carry. Raises: InvalidRequest."""
    if not subject:
        raise InvalidRequest("subject is required")
    problem = key_problem(subject)
    if problem:
        raise InvalidRequest(f"subject {problem}")


def _check_slugs(slugs: Sequence[str] | None) -> None:
    if slugs is None:
        return
    if not slugs:
        raise InvalidRequest("slug filter cannot be an empty array when provided")
    if "" in slugs:
        raise InvalidRequest("allowed meter slug cannot be empty")


def _is_canonical(signature: str) -> bool:
    """Whether this is how we write the signature it decodes to.

    43 characters hold 258 bits, a signature has 256: four texts decode alike. The payload needs no such check, its
    text is what is signed.
    """
    try:
        return hmac.compare_digest(base64_encode(base64_decode(signature)), signature.encode())
    except (BadData, binascii.Error):
        return False


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
    revoked_at = None if revoked_ms is None else _at(revoked_ms)
    return version, TokenRecord(id_, subject, tuple(slugs), _at(created_ms), _at(expires_ms), revoked_at)


def _at(unix_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=unix_ms)
