"""Usage queries: over any subjects with the API key, and over one subject with a portal token of that subject.

Owns: the conversion of a request into a `UsageQuery`, and of an `Answer`, whose rows are text already, into a
JSON or CSV response. The subject of a portal query always comes from the token; no part of a request can widen it.
Source: docs/contract.md "Portal", "Meters", D.3, D.8–D.11, D.14, D.24; docs/design.md
R18 (who formats the rows), R20 (the subject of a portal query), R21 (the grains of an answer).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.bodies import JsonInstant, read_model
from api.http.parameters import Parameters, slug, slug_or_id
from api.http.problems import InvalidParameter
from engine import tracing
from engine.errors import InvalidRequest, NotFound, StoreError
from engine.filters import ANYTHING, Allowance, Filter, check_operand, text_filter
from engine.meters.definition import MAX_GROUP_BY
from engine.meters.meter import Meter, MeterState
from engine.metrics import QUERIES
from engine.store.clickhouse import UNKNOWN_TABLE
from engine.tokens.portal_tokens import TokenClaims
from engine.usage.answers import Answer, RowLimit, UsageQuery, query_csv, query_json
from engine.usage.windows import WindowSize

T = TypeVar("T")
_MAX_ITEMS = 100  # per array in the body of a query
_MAX_BODY_BYTES = 262_144  # of a query: it is parsed on the event loop, and a portal token is enough to send one
MIN_GROUPS, MAX_GROUPS = 2, 1000  # the range of maxGroups; at least one named group, and the group of all others
_IGNORED = frozenset({"clientId"})
_IGNORED_OF_PORTAL = _IGNORED | {"subject", "filterCustomerId"}


_Texts = Annotated[list[Annotated[str, AfterValidator(check_operand)]], Field(max_length=_MAX_ITEMS)]

_Keys = Field(max_length=MAX_GROUP_BY)


class QueryBody(BaseModel):
    """The body of a usage query sent by POST."""

    model_config = ConfigDict(extra="ignore")

    from_: JsonInstant | None = Field(default=None, alias="from")
    to: JsonInstant | None = None
    window_size: WindowSize | None = Field(default=None, alias="windowSize")
    zone: str | None = Field(default=None, alias="windowTimeZone")
    subjects: _Texts | None = Field(default=None, alias="subject")
    customers: _Texts | None = Field(default=None, alias="filterCustomerId")
    group_by: _Texts | None = Field(default=None, alias="groupBy")
    filters: Annotated[dict[str, _Texts], _Keys] | None = Field(default=None, alias="filterGroupBy")
    advanced: Annotated[dict[str, Any], _Keys] | None = Field(default=None, alias="advancedMeterGroupByFilters")
    max_groups: int | None = Field(default=None, alias="maxGroups", strict=True, ge=MIN_GROUPS, le=MAX_GROUPS)
    client_id: str | None = Field(default=None, alias="clientId", min_length=1, max_length=36)


class PortalQueryBody(QueryBody):
    """The same on the portal. `subject` and `filterCustomerId` are ignored: the subject comes from the token."""

    subjects: Any = Field(default=None, alias="subject")
    customers: Any = Field(default=None, alias="filterCustomerId")


async def query_by_get(dependencies: Dependencies, request: Request) -> Response:
    """Answer a usage query over any subjects, sent by GET."""
    id_or_slug = slug_or_id(request)
    parameters = Parameters(request)
    query = replace(_from_parameters(parameters), subjects=tuple(parameters.list("subject")) or None)
    customers = bool(parameters.list("filterCustomerId"))
    _refuse_customers(query, customers)
    limit = RowLimit(dependencies.settings.query.max_rows, "query.max_rows")
    return await _answer(
        dependencies, request, lambda: live_meter(dependencies, id_or_slug), query, limit, parameters.ignored
    )


async def query_by_post(dependencies: Dependencies, request: Request) -> Response:
    """Answer a usage query over any subjects, sent by POST because its lists are too long for a query string."""
    id_or_slug = slug_or_id(request)
    _refuse_parameters(request, _IGNORED)
    body = await read_model(request, _body_limit(dependencies), QueryBody)
    query = replace(_from_body(body), subjects=tuple(body.subjects or ()) or None)
    _refuse_customers(query, bool(body.customers))
    limit = RowLimit(dependencies.settings.query.max_rows, "query.max_rows")
    return await _answer(dependencies, request, lambda: live_meter(dependencies, id_or_slug), query, limit)


async def query_portal_by_get(dependencies: Dependencies, request: Request, claims: TokenClaims) -> Response:
    """Answer a usage query over the token's subject, sent by GET."""
    slug_ = slug(request)
    parameters = Parameters(request)
    return await _portal_answer(dependencies, request, claims, slug_, _from_parameters(parameters), parameters.ignored)


async def query_portal_by_post(dependencies: Dependencies, request: Request, claims: TokenClaims) -> Response:
    """Answer a usage query over the token's subject, sent by POST."""
    slug_ = slug(request)
    _refuse_parameters(request, _IGNORED_OF_PORTAL)
    body = await read_model(request, _body_limit(dependencies), PortalQueryBody)
    return await _portal_answer(dependencies, request, claims, slug_, _from_body(body))


def live_meter(dependencies: Dependencies, id_or_slug: str) -> Meter:
    """Return a meter that can be queried. Raises: NotFound: it does not exist, or it was deleted."""
    meter = dependencies.registry.find(id_or_slug)
    if meter.state is MeterState.DELETED:
        raise NotFound(f"meter not found: {id_or_slug}")
    return meter


def meter_of_slug(dependencies: Dependencies, slug_: str) -> Meter:
    """Return a live meter by slug only: portal tokens contain slugs, and an id can look like one. Raises: NotFound."""
    meter = live_meter(dependencies, slug_)
    if meter.slug != slug_:
        raise NotFound(f"meter not found: {slug_}")
    return meter


def retry_with_fresh_meter(dependencies: Dependencies, find: Callable[[], Meter], run: Callable[[Meter], T]) -> T:
    """Find a meter and run a query on it; run both again if its tables were replaced in between. Blocks."""
    try:
        return run(find())
    except StoreError as error:
        if error.clickhouse_code != UNKNOWN_TABLE:
            raise
    dependencies.registry.refresh()
    return run(find())


def _from_parameters(parameters: Parameters) -> UsageQuery:
    parameters.text("clientId", most=36)
    query = UsageQuery(
        from_=parameters.instant("from"),
        to=parameters.instant("to"),
        window_size=parameters.choice("windowSize", WindowSize),
        zone=_text_or(parameters.text("windowTimeZone"), "UTC"),
        group_by=tuple(parameters.list("groupBy")),
        filters={key: (text,) for key, text in parameters.map("filterGroupBy").items()},
        advanced=_advanced(parameters.json("advancedMeterGroupByFilters") or {}),
        max_groups=parameters.integer("maxGroups", None, MIN_GROUPS, MAX_GROUPS),
    )
    _refuse_both_filters(query)
    return query


def _from_body(body: QueryBody) -> UsageQuery:
    query = UsageQuery(
        from_=body.from_,
        to=body.to,
        window_size=body.window_size,
        zone=_text_or(body.zone, "UTC"),
        group_by=tuple(body.group_by or ()),
        filters={key: tuple(texts) for key, texts in (body.filters or {}).items()},
        advanced=_advanced(body.advanced or {}),
        max_groups=body.max_groups,
    )
    _refuse_both_filters(query)
    return query


def _body_limit(dependencies: Dependencies) -> int:
    return min(dependencies.settings.server.body_limit_bytes, _MAX_BODY_BYTES)


def _refuse_parameters(request: Request, ignored: frozenset[str]) -> None:
    """Refuse members of the body in the query string, where they would have no effect. Raises: InvalidParameter."""
    members = {field.alias or name for name, field in QueryBody.model_fields.items()} - ignored
    folded = {name.lower() for name in members}
    for name in request.query_params:
        if name.partition("[")[0].lower() in folded:
            raise InvalidParameter(f'parameter "{name}" must be given in the body')


def _advanced(bodies: dict[str, Any]) -> dict[str, Filter]:
    """Return the filter of each key. An empty filter is kept, so that its key is still checked against the meter."""
    if len(bodies) > MAX_GROUP_BY:
        raise InvalidRequest(f"advanced meter group by filters have more than {MAX_GROUP_BY} keys")
    found: dict[str, Filter] = {}
    allowance = Allowance()
    for key, body in bodies.items():
        try:
            filter_ = text_filter(body, allowance)
        except InvalidRequest as error:
            raise InvalidRequest(f"invalid group by filter: {key}: {error}") from None
        found[key] = filter_ or ANYTHING
    return found


def _refuse_both_filters(query: UsageQuery) -> None:
    if any(query.filters.values()) and query.advanced:
        raise InvalidRequest("advanced meter group by filters and filter group by cannot be used together")


def _refuse_bare_keys(ignored: Sequence[str], meter: Meter) -> None:
    """Refuse group-by keys as parameter names: if they were ignored, the answer would not be filtered.

    Generated clients that do not support the style `deepObject` send filters in this form.
    Raises: InvalidParameter.
    """
    for name in ignored:
        if name in meter.dimensions:
            raise InvalidParameter(f'parameter "{name}" is unknown, did you mean "filterGroupBy[{name}]"?')


def _text_or(text: str | None, default: str) -> str:
    return default if text is None else text


def _not_supported(name: str) -> InvalidParameter:
    return InvalidParameter(f'parameter "{name}" is not supported')


def _refuse_customers(query: UsageQuery, customers: bool) -> None:
    if customers:
        raise _not_supported("filterCustomerId")
    if "customer_id" in query.group_by:
        raise InvalidParameter('parameter "groupBy": customer_id is not supported')


async def _portal_answer(
    dependencies: Dependencies,
    request: Request,
    claims: TokenClaims,
    slug_: str,
    query: UsageQuery,
    ignored: Sequence[str] = (),
) -> Response:
    if "customer_id" in query.group_by:
        raise InvalidRequest("customer filter is required with customer_id group by")
    forced = replace(query, subjects=(claims.subject,))
    limit = RowLimit(dependencies.settings.portal.max_rows, "portal.max_rows")
    return await _answer(dependencies, request, lambda: meter_of_slug(dependencies, slug_), forced, limit, ignored)


async def _answer(
    dependencies: Dependencies,
    request: Request,
    find: Callable[[], Meter],
    query: UsageQuery,
    limit: RowLimit,
    ignored: Sequence[str] = (),
) -> Response:
    """Answer a usage query.

    Args: find: returns the meter; runs in a thread. ignored: parameters of the request that its route does not know.
    """
    as_csv = wants_csv(request)
    if as_csv and query.max_groups is not None:
        raise InvalidParameter(
            'parameter "maxGroups" cannot be used with text/csv: CSV cannot show which row is the group of all others'
        )

    def run(meter: Meter) -> tuple[Meter, Answer]:
        _refuse_bare_keys(ignored, meter)
        resolved = query.resolved(meter)
        return meter, (query_csv if as_csv else query_json)(dependencies.store, meter, resolved, limit)

    with tracing.spans.step("query usage"):
        meter, answer = await in_thread(request, lambda: retry_with_fresh_meter(dependencies, find, run))
        grains = ",".join(answer.grains)
        tracing.spans.note({"meterport.meter": meter.slug, "meterport.query.grains": grains})
    QUERIES.labels(grains).inc()
    headers = {"X-Meterport-Grains": grains}
    if as_csv:
        headers |= {"Content-Type": "text/csv", "Content-Disposition": f"attachment; filename={meter.slug}.csv"}
        return Response(answer.rows, headers=headers)
    return Response(wrap_rows(query, answer), headers=headers, media_type="application/json")


def wrap_rows(query: UsageQuery, answer: Answer) -> bytes:
    """Return the JSON answer: members that repeat the query, and the rows, which are a JSON array already."""
    echoes: dict[str, str | int | None] = {
        "from": query.from_.text if query.from_ else None,
        "to": query.to.text if query.to else None,
        "windowSize": query.window_size.value if query.window_size else None,
        "groupCount": answer.group_count,
    }
    given = b"".join(
        b'"%b":%b,' % (name.encode(), orjson.dumps(echo)) for name, echo in echoes.items() if echo is not None
    )
    return b"".join((b"{", given, b'"data":', answer.rows, b"}"))


def wants_csv(request: Request) -> bool:
    """Return whether Accept is exactly one media type, text/csv; a list of types gets JSON."""
    accepted = request.headers.getlist("accept")
    return len(accepted) == 1 and "," not in accepted[0] and accepted[0].split(";")[0].strip().lower() == "text/csv"
