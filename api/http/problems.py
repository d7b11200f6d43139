"""Errors as RFC 9457 problems: the one table from error class to HTTP status.

Owns: status codes, the texts put before an error's own, the problem body and its exact media type.
A 500 says nothing but its request id; what happened is in the log under that id.
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
from engine.tokens.portal_tokens import PREFIX

logger = logging.getLogger(__name__)
NOT_STORED = {"Cache-Control": "no-store"}
RETRY_SECONDS = 1
ACCEPTED_ENCODINGS = "gzip, zstd"  # of request bodies
DETAIL_CHARACTERS = 8192  # of a problem at most: what was sent is not sent back, however long it was
_QUOTED_CHARACTERS = 256
_TOKEN = re.compile(rf"{PREFIX}[\w.-]+", re.ASCII)


class InvalidParameter(errors.InvalidRequest):
    """A parameter, header or body the API itself refuses: its text names it and goes out as it is."""


class InvalidEvents(errors.InvalidEvent):
    """Events of a request that cannot be metered; `faults` are the members of `extensions` that say which and why."""

    def __init__(self, message: str, faults: Mapping[str, object]) -> None:
        super().__init__(message)
        self.faults = faults


class _Answer(NamedTuple):
    """`prefix` None: no detail, and the error is logged."""

    status: int
    prefix: str | None


_ANSWERS: Mapping[type[errors.MeterportError], _Answer] = {
    InvalidParameter: _Answer(400, ""),
    errors.InvalidRequest: _Answer(400, "validation error: "),
    errors.InvalidMeter: _Answer(400, "validation error: "),
    errors.InvalidEvent: _Answer(400, "invalid event: "),
    errors.Unauthorized: _Answer(401, ""),
    errors.Forbidden: _Answer(403, ""),
    errors.NotFound: _Answer(404, "not found error: "),
    errors.Conflict: _Answer(409, "conflict error: "),
    errors.TooManyRows: _Answer(400, ""),
    errors.TooLarge: _Answer(413, ""),
    errors.UnsupportedEncoding: _Answer(415, ""),
    errors.TooManyRequests: _Answer(429, ""),
    errors.StoreUnavailable: _Answer(503, None),  # the driver's words name hosts and statements
    errors.Unavailable: _Answer(503, ""),  # a query that was ended too: asked at a quieter hour it may be answered
    errors.MeterportError: _Answer(500, None),
}


def problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str | None = None,
    extensions: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem response for a request. Its member `message` is for clients that do not know `detail`.

    No cache keeps it: a 404 may be kept otherwise (RFC 9111, 4.2.2).
    """
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = cut(detail, DETAIL_CHARACTERS).encode("utf-8", "replace").decode()
    body |= {"instance": f"urn:request:{request_id(scope)}", "code": code}
    if detail:
        body["message"] = body["detail"]
    if extensions:
        body["extensions"] = extensions
    text = without_tokens(orjson.dumps(body).decode())
    return Response(text, status, {**(headers or {}), **NOT_STORED}, media_type="application/problem+json")


def cut(text: str, characters: int = _QUOTED_CHARACTERS) -> str:
    """Return as much of what a client sent as is sent back to it."""
    return text if len(text) <= characters else f"{text[:characters]}…"


def without_tokens(text: str) -> str:
    """Return what is to be answered without the tokens that were sent in a wrong place: they are never sent back."""
    return _TOKEN.sub(PREFIX + "…", text)


def internal_error(scope: Scope) -> Response:
    """Return the answer to a request that met a defect; the caller logs it."""
    return problem(scope, 500, "internal-error")


def request_id(scope: Scope) -> str:
    """Return the id given to the request when it came in."""
    return str(scope["state"]["request_id"])


async def from_meterport_error(request: Request, error: Exception) -> Response:
    """Answer an error of the tree in engine/errors.py."""
    assert isinstance(error, errors.MeterportError)  # noqa: S101 - registered for this class
    status, prefix = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    if prefix is None:
        logger.error("request_failed request_id=%s code=%s", request_id(request.scope), error.code, exc_info=error)
    if status == 500:
        return internal_error(request.scope)
    detail = "the store cannot be reached, try again" if prefix is None else f"{prefix}{error}"
    extensions = error.faults if isinstance(error, InvalidEvents) else None
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
    """Answer what no route answers: 404 and 405, without detail."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return problem(request.scope, error.status_code, code, headers=error.headers)


HANDLERS: Mapping[Any, Any] = {
    errors.MeterportError: from_meterport_error,
    HTTPException: from_http_exception,
}
