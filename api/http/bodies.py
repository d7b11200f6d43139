"""Request bodies: media types, the size limit, charsets, JSON.

Owns: reading a body up to its limit, whatever Content-Length says, and reporting what is wrong with it. Compressed
bodies are unpacked by api/http/encodings.py, in a thread.
Source: docs/contract.md D.9, D.12.
"""

import contextlib
import re
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import orjson
from pydantic import BaseModel, BeforeValidator, InstanceOf, ValidationError
from starlette.requests import Request

from api.http.encodings import content_encoding, unpack
from api.http.members import refuse_duplicate_members, refuse_misspelt_case
from api.http.problems import InvalidParameter
from engine.errors import TooLarge
from engine.events.unreadable import why_not_json
from engine.instants import Instant, parse_instant
from engine.texts import truncate

JSON = "application/json"
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_ASCII_SUPERSETS = ("iso-8859-", "windows-125")
_THREAD_BYTES = 65_536  # A smaller body is checked in less time than it takes to hand it to a thread.
M = TypeVar("M", bound=BaseModel)


def parse_member_instant(value: object) -> Instant:
    """Return the instant that a member of a body holds. Raises: ValueError: it is not a string, or not RFC 3339."""
    if not isinstance(value, str):
        raise ValueError("not an RFC 3339 timestamp with an offset")  # noqa: TRY004 - pydantic reports ValueErrors
    return parse_instant(value)


JsonInstant = Annotated[InstanceOf[Instant], BeforeValidator(parse_member_instant)]


def media_type(request: Request) -> str:
    """Return the media type of the body without its parameters, in lower case; "" if there is none."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def other_media_type(request: Request) -> InvalidParameter:
    """Return the error for a body whose media type the route does not accept."""
    return InvalidParameter(f"invalid content type: {truncate(request.headers.get('content-type', ''))}")


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body, unpacked.

    Raises: TooLarge: it is longer than `limit` bytes, packed or unpacked; the rest is not read. UnsupportedEncoding:
        its content encoding is not supported. InvalidParameter: it is not encoded as its headers say, or its charset
        is not accepted.
    """
    encoding = content_encoding(request)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    async with contextlib.aclosing(request.stream()) as stream:
        async for chunk in stream:
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    body = b"".join(chunks)
    if encoding:
        body = await anyio.to_thread.run_sync(unpack, encoding, body, limit)
    _check_charset(request, body)
    return body


def _check_charset(request: Request, body: bytes) -> None:
    """Check the charset in Content-Type: UTF-8, or a superset of ASCII if the body contains only ASCII.

    Raises: InvalidParameter.
    """
    if len(request.headers.getlist("content-type")) > 1:
        raise InvalidParameter("header content-type appears twice")
    content_type = request.headers.get("content-type", "")
    named = _CHARSET.search(content_type)
    charset = named[1].lower() if named else "utf-8"
    if charset in _UTF_8 or (charset.startswith(_ASCII_SUPERSETS) and body.isascii()):
        return
    raise InvalidParameter(f"invalid content type: {truncate(content_type)}: the body must be UTF-8")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is longer than {limit} bytes")


async def read_json(request: Request, limit: int) -> Any:
    """Return a JSON body, parsed.

    Raises: InvalidParameter: it has another media type, is not JSON, or an object in it has a member twice. TooLarge.
    """
    if media_type(request) != JSON:
        raise other_media_type(request)
    body = await read_body(request, limit)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(f"invalid request body: not JSON: {why_not_json(body, error)}") from None

    if len(body) > _THREAD_BYTES:
        await anyio.to_thread.run_sync(refuse_duplicate_members, "invalid request body", body, parsed)
    else:
        refuse_duplicate_members("invalid request body", body, parsed)
    return parsed


async def read_object(request: Request, limit: int) -> dict[str, Any]:
    """Return a JSON body that must be an object. Raises: InvalidParameter, TooLarge."""
    body = await read_json(request, limit)
    if not isinstance(body, dict):
        raise InvalidParameter("invalid request body: must be a JSON object")
    return body


async def read_model(request: Request, limit: int, model: type[M]) -> M:
    """Return a JSON body as a model. Raises: InvalidParameter: it names the first invalid member. TooLarge."""
    body = await read_object(request, limit)
    refuse_misspelt_case(iter(body), {field.alias or name for name, field in model.model_fields.items()})
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidParameter(f"invalid request body: {name}: {message}" if name else message) from None
