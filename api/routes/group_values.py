"""The subjects of a meter's events, and the values of a group-by key: sorted, in pages, within look-back limits.

Source: docs/contract.md "Meters" (subjects, group-by values), D.14, D.24.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.paging import link_to_next
from api.http.parameters import Parameters, slug, slug_or_id
from api.http.responses import json_response
from api.routes.usage import live_meter, meter_of_slug, retry_with_fresh_meter
from engine.config.settings import QuerySettings
from engine.errors import InvalidRequest, TooManyRows
from engine.instants import DAY_SECONDS, NANOS, Instant, milliseconds
from engine.meters.meter import Meter
from engine.tokens.portal_tokens import TokenClaims
from engine.usage.distinct import Page, distinct_values
from engine.usage.query import UsageQuery

_MAX_AFTER_CHARACTERS = 2048  # The value is part of the next page's URL, where escapes make it longer.
_DAY_NANOS = DAY_SECONDS * NANOS
_DEFAULT_SPAN_NANOS = timedelta(hours=24) // timedelta(microseconds=1) * 1000  # nanoseconds


@dataclass(frozen=True, slots=True)
class _ValuesQuery:
    """A request for values: the range of events, and the page."""

    query: UsageQuery
    page: Page


async def list_subjects(dependencies: Dependencies, request: Request) -> Response:
    """List the subjects that have events of a meter, sorted."""
    id_or_slug = slug_or_id(request)
    parameters = Parameters(request)
    from_, to = parameters.instant("from"), parameters.instant("to")
    _check_order(from_, to)
    values_query = _ValuesQuery(
        UsageQuery(from_=from_, to=to), _page(parameters, dependencies.settings.query.max_values)
    )
    return await _list_values(dependencies, request, lambda: live_meter(dependencies, id_or_slug), None, values_query)


async def list_group_values(dependencies: Dependencies, request: Request) -> Response:
    """List the values of a group-by key, sorted; by default those of the last 24 hours."""
    id_or_slug = slug_or_id(request)
    values_query = _bounded_query(dependencies, request, dependencies.settings.query.max_values)
    return await _list_values(
        dependencies, request, lambda: live_meter(dependencies, id_or_slug), _key(request), values_query
    )


async def list_portal_group_values(dependencies: Dependencies, request: Request, claims: TokenClaims) -> Response:
    """List the values of a group-by key among the events of the token's subject."""
    slug_ = slug(request)
    values_query = _bounded_query(dependencies, request, dependencies.settings.portal.max_values, (claims.subject,))
    return await _list_values(
        dependencies, request, lambda: meter_of_slug(dependencies, slug_), _key(request), values_query
    )


def _key(request: Request) -> str:
    return str(request.path_params["key"])


async def _list_values(
    dependencies: Dependencies, request: Request, find: Callable[[], Meter], key: str | None, values_query: _ValuesQuery
) -> Response:
    """Return a page of values, with a link to the next page if there are more. Args: key: None lists the subjects."""

    def run(meter: Meter) -> tuple[list[str], bool]:
        if key is None:
            return distinct_values(dependencies.store, meter, "subject", values_query.query, values_query.page)
        if key not in meter.dimensions:
            raise InvalidRequest("group by key is not valid for this meter")
        return distinct_values(dependencies.store, meter, key, values_query.query, values_query.page)

    found, more = await in_thread(request, lambda: retry_with_fresh_meter(dependencies, find, run))
    return json_response(found, headers=_next_page(request, values_query, found[-1]) if more else None)


def _next_page(request: Request, values_query: _ValuesQuery, last: str) -> dict[str, str]:
    """Return the header that names the next page, over the same range.

    Raises: TooManyRows: the last value is too long for the URL of the next page.
    """
    if len(last) > _MAX_AFTER_CHARACTERS:
        raise TooManyRows(
            f"the answer has more than {values_query.page.limit} values, "
            "and the last one is too long to continue after it: use search"
        )
    bounds = {"from": values_query.query.from_, "to": values_query.query.to}
    changes = {name: bound.text for name, bound in bounds.items() if bound is not None}
    return link_to_next(request, {**changes, "limit": str(values_query.page.limit), "after": last})


def _page(parameters: Parameters, most: int) -> Page:
    return Page(parameters.integer("limit", most, 1, most), parameters.text("search") or "", parameters.text("after"))


def _bounded_query(
    dependencies: Dependencies, request: Request, most: int, subjects: tuple[str, ...] | None = None
) -> _ValuesQuery:
    query = Parameters(request)
    now = Instant(milliseconds(dependencies.clock()) * 1_000_000)
    to = query.instant("to") or now
    from_ = query.instant("from") or Instant(to.nanos - _DEFAULT_SPAN_NANOS)
    _check_order(from_, to)
    _check_look_back(from_, to, now, dependencies.settings.query)
    return _ValuesQuery(UsageQuery(from_=from_, to=to, subjects=subjects), _page(query, most))


def _check_order(from_: Instant | None, to: Instant | None) -> None:
    if from_ is None or to is None:
        return
    if from_.nanos == to.nanos:
        raise InvalidRequest("from and to cannot be equal")
    if from_.nanos > to.nanos:
        raise InvalidRequest("from time must be before to time")


def _check_look_back(from_: Instant, to: Instant, now: Instant, limits: QuerySettings) -> None:
    if now.nanos - from_.nanos >= limits.values_days * _DAY_NANOS:
        raise InvalidRequest(f"from time must not be more than {limits.values_days} days ago")
    if to.nanos - from_.nanos > limits.values_span_days * _DAY_NANOS:
        raise InvalidRequest(f"time window must be less than {limits.values_span_days} days")
