"""Portal tokens, and what the holder of a token may see.

    POST /api/v1/portal/tokens              creates a token; the only answer that contains the token itself
    GET  /api/v1/portal/tokens              lists tokens, newest first
    POST /api/v1/portal/tokens/invalidate   invalidates tokens by id, by subject, or all issued before an instant
    GET  /api/v1/portal/meters              with a token: the meters it allows
    GET  /api/v1/portal/subject             with a token: its subject, and the subject's current period

Owns: the bodies of these requests and answers, and the check that every allowed slug belongs to a live meter. The
rules for valid tokens are in engine/tokens/portal_tokens.py.
Source: docs/contract.md D.2, D.14, D.22 and "Portal".
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf
from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.bodies import JsonInstant, parse_member_instant, read_model
from api.http.parameters import Parameters
from api.http.problems import NO_STORE, InvalidParameter
from api.http.responses import json_response, no_content, timestamp, without_none
from api.routes.meters import meter_json
from api.routes.usage import meter_of_slug
from engine.errors import InvalidRequest
from engine.filters import check_operand
from engine.tokens.portal_tokens import TokenClaims, TokenRecord
from engine.tokens.requests import check_invalidation, check_subject


def _to_datetime(value: object) -> datetime:
    return parse_member_instant(value).datetime


_JsonDatetime = Annotated[InstanceOf[datetime], BeforeValidator(_to_datetime)]


_Text = Annotated[str, AfterValidator(check_operand)]


class TokenBody(BaseModel):
    """A token to create. Unknown members are refused: a misspelt list of meters must not allow every meter."""

    model_config = ConfigDict(extra="forbid")

    subject: str
    allowed_meter_slugs: list[str] | None = Field(default=None, alias="allowedMeterSlugs")
    allowed_meters: list[str] | None = Field(default=None, alias="allowedMeters")
    expires_at: _JsonDatetime | None = Field(default=None, alias="expiresAt")
    # Members of an answer that clients send back: they are accepted and ignored.
    id: Any = None
    token: Any = None
    expired: Any = None
    created_at: Any = Field(default=None, alias="createdAt")


class InvalidateBody(BaseModel):
    """The tokens to invalidate. Unknown members are refused: a misspelt member must not be answered 204."""

    model_config = ConfigDict(extra="forbid")

    id: _Text | None = None
    subject: _Text | None = None
    issued_before: JsonInstant | None = Field(default=None, alias="issuedBefore")


async def create_token(dependencies: Dependencies, request: Request) -> Response:
    """Create a token; answer 200. Only this answer contains the token."""
    body = await read_model(request, dependencies.settings.server.body_limit_bytes, TokenBody)
    check_subject(body.subject)
    slugs = _allowed_slugs(dependencies, body)
    record, token = await in_thread(request, lambda: dependencies.tokens.create(body.subject, slugs, body.expires_at))
    return json_response({**_token_json(dependencies, record), "token": token}, headers=NO_STORE)


def _allowed_slugs(dependencies: Dependencies, body: TokenBody) -> list[str] | None:
    """Return the slugs that a token is to allow; None allows every meter.

    Raises: InvalidRequest, InvalidParameter. NotFound: it names the first slug that no live meter has.
    """
    newer, older = body.allowed_meter_slugs, body.allowed_meters
    if newer is not None and older is not None and newer != older:
        raise InvalidParameter("invalid request body: allowedMeters and allowedMeterSlugs differ, give one of them")
    slugs = newer if newer is not None else older
    if slugs is None:
        return None
    if not slugs:
        raise InvalidRequest("slug filter cannot be an empty array when provided")
    for slug in slugs:
        if not slug:
            raise InvalidRequest("allowed meter slug cannot be empty")
        meter_of_slug(dependencies, slug)
    return slugs


async def list_tokens(dependencies: Dependencies, request: Request) -> Response:
    """List tokens, newest first; the answer never contains a token itself."""
    query = Parameters(request)
    limit, subject = query.integer("limit", 25, 1, 100), query.text("subject")
    records = await in_thread(request, lambda: dependencies.tokens.list(subject, limit))
    return json_response([_token_json(dependencies, record) for record in records], headers=NO_STORE)


async def invalidate_tokens(dependencies: Dependencies, request: Request) -> Response:
    """Invalidate one token, all tokens of a subject, or all issued before an instant; answer 204 even if none is known.

    Raises: InvalidRequest, InvalidParameter.
    """
    body = await read_model(request, dependencies.settings.server.body_limit_bytes, InvalidateBody)
    check_invalidation(body.id, body.subject, body.issued_before, dependencies.clock())
    await in_thread(request, lambda: dependencies.tokens.invalidate(body.id, body.subject, body.issued_before))
    return no_content()


def _token_json(dependencies: Dependencies, record: TokenRecord) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": record.id,
        "subject": record.subject,
        "allowedMeterSlugs": list(record.allowed_meter_slugs or ()),
        "createdAt": timestamp(record.created_at),
        "expiresAt": timestamp(record.expires_at),
    }
    if record.expires_at <= dependencies.clock():
        shown["expired"] = True
    if record.revoked_at is not None:
        shown["revoked"] = True
    return shown


async def list_meters(dependencies: Dependencies, request: Request, claims: TokenClaims) -> Response:  # noqa: ARG001
    """List the meters that the token allows, by slug. Their metadata is left out, because it is the operator's own."""
    meters = sorted(dependencies.registry.all(), key=lambda meter: meter.slug)
    shown = [meter_json(meter) for meter in meters if claims.allows(meter.slug)]
    return json_response([_without_metadata(meter) for meter in shown])


async def get_subject(dependencies: Dependencies, request: Request, claims: TokenClaims) -> Response:
    """Return what the token's holder may see of the subject. Metadata and the Stripe id are the operator's own."""
    subject = await in_thread(request, lambda: dependencies.subjects.find_by_key(claims.subject))
    given = subject.definition if subject is not None else {}
    shown = {name: given.get(name) for name in ("displayName", "currentPeriodStart", "currentPeriodEnd")}
    return json_response(without_none({"key": claims.subject, **shown}))


def _without_metadata(meter: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in meter.items() if name != "metadata"}
