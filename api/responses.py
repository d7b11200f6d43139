"""Answers: JSON with its exact media type, and what timestamps look like in it.

Source: docs/contract.md "Common HTTP rules": clients compare media types exactly, so none carries a charset.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
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
