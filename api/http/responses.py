"""Answers: JSON with its exact media type, and what timestamps look like in it.

Owns: conditional answers too. A tag is a digest of the answer's own bytes, so it changes whenever they do, in every
process alike; it costs a hash of what is sent anyway.
Source: docs/contract.md "Common HTTP rules": clients compare media types exactly, so none carries a charset; D.24.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response

from engine.instants import parse_instant


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return raw_json(orjson.dumps(value), status, headers)


def raw_json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return bytes that are JSON already."""
    return Response(body, status, headers, media_type="application/json")


def no_content() -> Response:
    """Return 204."""
    return Response(status_code=204)


def timestamp(at: datetime) -> str:
    """Return RFC 3339 in UTC, with Z, trailing zeros of the fraction trimmed."""
    return parse_instant(at.astimezone(UTC).isoformat()).text


def without_none(value: Mapping[str, object]) -> dict[str, object]:
    """Leave out members that have no value."""
    return {name: member for name, member in value.items() if member is not None}


def conditional(request: Request, response: Response, holder: str) -> Response:
    """Give an answer its ETag, by holder, representation and content; return 304 to who holds it already.

    What is not to be stored stays as it is.
    """
    if response.status_code != 200 or "cache-control" in response.headers:
        return response
    identity = orjson.dumps([holder, response.headers["content-type"]])
    tag = f'"{hashlib.sha256(identity + bytes(response.body)).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
    if request.method in {"GET", "HEAD"} and _holds(request, tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _holds(request: Request, tag: str) -> bool:
    known = [item.strip().removeprefix("W/") for item in ",".join(request.headers.getlist("if-none-match")).split(",")]
    return tag in known or known == ["*"]
