"""Responses: JSON with its exact media type, the format of timestamps, and conditional responses.

Owns: ETags. A tag is a digest of the response's bytes, of its media type, and of whose credential the request has: it
changes when one of these changes, and all processes compute the same one. The cost is one hash of the bytes that are
sent.
Source: docs/contract.md "Common HTTP rules" (clients compare media types exactly, so none has a charset); D.24.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response

from engine.instants import parse_instant


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response with a value."""
    return raw_json(orjson.dumps(value), status, headers)


def raw_json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response with bytes that are JSON already."""
    return Response(body, status, headers, media_type="application/json")


def no_content() -> Response:
    """Return an empty response with status 204."""
    return Response(status_code=204)


def timestamp(instant: datetime) -> str:
    """Return an instant as RFC 3339 in UTC, with `Z` and without trailing zeros of the fraction."""
    return parse_instant(instant.astimezone(UTC).isoformat()).text


def without_none(value: Mapping[str, object]) -> dict[str, object]:
    """Return the members whose value is not None."""
    return {name: member for name, member in value.items() if member is not None}


def conditional(request: Request, response: Response, holder: str) -> Response:
    """Add an ETag to a response; return 304 instead to a GET or HEAD if the client has this response already.

    The tag depends on the holder, the media type and the content. A response that already has a Cache-Control header,
    or a status other than 200, is returned unchanged.
    Args: holder: whose credential the request has, so that no two token holders share a tag.
    """
    if response.status_code != 200 or "cache-control" in response.headers:
        return response
    identity = orjson.dumps([holder, response.headers["content-type"]])
    tag = f'"{hashlib.sha256(identity + bytes(response.body)).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
    if request.method in {"GET", "HEAD"} and _client_has(request, tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _client_has(request: Request, tag: str) -> bool:
    known = [item.strip().removeprefix("W/") for item in ",".join(request.headers.getlist("if-none-match")).split(",")]
    return tag in known or known == ["*"]
