"""Errors as RFC 9457 problems: the status of each error class, and what clients are not shown of an error.

Owns: the only table that maps error classes to HTTP statuses; the prefixes of error messages; the problem body and its
exact media type.
Clients are not shown: what caused a 500, which has only its request id, while the logger writes the cause with the same
id; what the driver says of the store; and portal tokens that a request has in a wrong place.
Source: docs/contract.md "Common HTTP rules" and D.20.
"""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from engine import errors
from engine.texts import truncate
from engine.tokens.portal_tokens import PREFIX

logger = logging.getLogger(__name__)
NO_STORE = {"Cache-Control": "no-store"}
RETRY_SECONDS = 1
ACCEPTED_ENCODINGS = "gzip, zstd"  # of request bodies
DETAIL_CHARACTERS = 8192  # The maximum of `detail`: it may quote what was sent, which can be of any length.
_TOKEN = re.compile(rf"{PREFIX}[\w.-]+", re.ASCII)


class InvalidParameter(errors.InvalidRequest):
    """A parameter, header or body that the API itself refuses. The message names it and is sent without a prefix."""


class InvalidEvents(errors.InvalidEvent):
    """Events of a request that cannot be metered. `extensions`: the members that say which events, and why."""

    def __init__(self, message: str, extensions: Mapping[str, object]) -> None:
        super().__init__(message)
        self.extensions = extensions


class _StatusAndPrefix(NamedTuple):
    """How an error class is answered. `prefix` None: the error is logged, and its own message is not sent."""

    status: int
    prefix: str | None


_STATUS_BY_ERROR: Mapping[type[errors.MeterportError], _StatusAndPrefix] = {
    InvalidParameter: _StatusAndPrefix(400, ""),
    errors.InvalidRequest: _StatusAndPrefix(400, "validation error: "),
    errors.InvalidMeter: _StatusAndPrefix(400, "validation error: "),
    errors.InvalidEvent: _StatusAndPrefix(400, "invalid event: "),
    errors.Unauthorized: _StatusAndPrefix(401, ""),
    errors.Forbidden: _StatusAndPrefix(403, ""),
    errors.NotFound: _StatusAndPrefix(404, "not found error: "),
    errors.Conflict: _StatusAndPrefix(409, "conflict error: "),
    errors.TooManyRows: _StatusAndPrefix(400, ""),
    errors.TooLarge: _StatusAndPrefix(413, ""),
    errors.UnsupportedEncoding: _StatusAndPrefix(415, ""),
    errors.TooManyRequests: _StatusAndPrefix(429, ""),
    errors.StoreUnavailable: _StatusAndPrefix(503, None),  # The message is the driver's and names hosts and statements.
    errors.Unavailable: _StatusAndPrefix(503, ""),  # Also a query that was ended: it may succeed at a quieter time.
    errors.MeterportError: _StatusAndPrefix(500, None),
}


def problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str | None = None,
    extensions: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem response to a request. Its member `message` is for clients that do not know `detail`.

    Caches must not store it: without `no-store` they could store a 404 (RFC 9111, 4.2.2).
    """
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = truncate(detail, DETAIL_CHARACTERS).encode("utf-8", "replace").decode()
    body |= {"instance": f"urn:request:{request_id(scope)}", "code": code}
    if detail:
        body["message"] = body["detail"]
    if extensions:
        body["extensions"] = extensions
    text = redact_tokens(orjson.dumps(body).decode())
    return Response(text, status, {**(headers or {}), **NO_STORE}, media_type="application/problem+json")


def redact_tokens(text: str) -> str:
    """Return a text with portal tokens replaced: a token that a client sent in a wrong place is never sent back."""
    return _TOKEN.sub(PREFIX + "…", text)


def internal_error(scope: Scope) -> Response:
    """Return the answer to a request that failed because of a defect; the caller logs the defect."""
    return problem(scope, 500, "internal-error")


def request_id(scope: Scope) -> str:
    """Return the id that the request got when it arrived."""
    return str(scope["state"]["request_id"])


async def from_meterport_error(request: Request, error: Exception) -> Response:
    """Return the response to an error of the tree in engine/errors.py."""
    assert isinstance(error, errors.MeterportError)  # noqa: S101 - registered for this class
    status, prefix = next(_STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _STATUS_BY_ERROR)
    if prefix is None:
        logger.error("request_failed request_id=%s code=%s", request_id(request.scope), error.code, exc_info=error)
    if status == 500:
        return internal_error(request.scope)
    detail = "the store cannot do this now, try again" if prefix is None else f"{prefix}{error}"
    extensions = error.extensions if isinstance(error, InvalidEvents) else None
    return problem(request.scope, status, error.code, detail, extensions, _headers(status, error))


def _headers(status: int, error: errors.MeterportError) -> dict[str, str]:
    if isinstance(error, errors.TooManyRequests):
        return {"Retry-After": str(error.retry_seconds)}
    match status:
        case 401:
            return {"WWW-Authenticate": "Bearer"}
        case 503:
            return {"Retry-After": str(RETRY_SECONDS)}
        case 415:
            return {"Accept-Encoding": ACCEPTED_ENCODINGS}
        case 413:
            return {"Connection": "close"}  # the rest of the body is not read
        case _:
            return {}


async def from_http_exception(request: Request, error: Exception) -> Response:
    """Return the response to a request that no route handles: 404 or 405, without detail."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return problem(request.scope, error.status_code, code, headers=error.headers)


HANDLERS: Mapping[Any, Any] = {
    errors.MeterportError: from_meterport_error,
    HTTPException: from_http_exception,
}
