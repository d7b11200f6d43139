"""What a meter's events name: its subjects, and the values of a group-by key, within look-back limits, by pages.

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
from api.routes.usage import live_meter, meter_of_slug, with_fresh_meter
from engine.config.settings import QuerySettings
from engine.errors import InvalidRequest, TooManyRows
from engine.instants import DAY_SECONDS, NANOS, Instant, milliseconds
from engine.meters.meter import Meter
from engine.tokens.portal_tokens import TokenClaims
from engine.usage.distinct import Page, distinct_values
from engine.usage.query import UsageQuery

_AFTER_CHARACTERS = 2048  # in a URL, escaped, beside the others
_DAY_NANOS = DAY_SECONDS * NANOS
_DEFAULT_SPAN = timedelta(hours=24) // timedelta(microseconds=1) * 1000  # nanoseconds


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for: the range, and the page."""

    query: UsageQuery
    page: Page


async def list_subjects(dependencies: Dependencies, request: Request) -> Response:
    """List the subjects with events of a meter, sorted."""
    wanted = slug_or_id(request)
    given = Parameters(request)
    from_, to = given.instant("from"), given.instant("to")
    _check_order(from_, to)
    asked = _Asked(UsageQuery(from_=from_, to=to), _page(given, dependencies.settings.query.max_values))
    return await _listed(dependencies, request, lambda: live_meter(dependencies, wanted), None, asked)


async def list_group_values(dependencies: Dependencies, request: Request) -> Response:
    """List the values of a group-by key, sorted; of the last 24 hours unless bounds are given."""
    wanted = slug_or_id(request)
    asked = _within_limits(dependencies, request, dependencies.settings.query.max_values)
    return await _listed(dependencies, request, lambda: live_meter(dependencies, wanted), _key(request), asked)


async def list_portal_group_values(dependencies: Dependencies, request: Request, claims: TokenClaims) -> Response:
    """List the values of a group-by key among the events of the token's subject."""
    wanted = slug(request)
    asked = _within_limits(dependencies, request, dependencies.settings.portal.max_values, (claims.subject,))
    return await _listed(dependencies, request, lambda: meter_of_slug(dependencies, wanted), _key(request), asked)


def _key(request: Request) -> str:
    return str(request.path_params["key"])


async def _listed(
    dependencies: Dependencies, request: Request, find: Callable[[], Meter], key: str | None, asked: _Asked
) -> Response:
    """Answer a page of values, and the link to the next if there are more. Args: key: None: subjects are asked for."""

    def ask(meter: Meter) -> tuple[list[str], bool]:
        if key is None:
            return distinct_values(dependencies.store, meter, "subject", asked.query, asked.page)
        if key not in meter.dimensions:
            raise InvalidRequest("group by key is not valid for this meter")
        return distinct_values(dependencies.store, meter, key, asked.query, asked.page)

    found, more = await in_thread(request, lambda: with_fresh_meter(dependencies, find, ask))
    return json_response(found, headers=_next(request, asked, found[-1]) if more else None)


def _next(request: Request, asked: _Asked, last: str) -> dict[str, str]:
    """Return the header that names the next page, over the same range. Raises: TooManyRows: it cannot be asked for."""
    if len(last) > _AFTER_CHARACTERS:
        raise TooManyRows(f"the answer has more than {asked.page.limit} values, and the last is too long: use search")
    bounds = {"from": asked.query.from_, "to": asked.query.to}
    changes = {name: bound.text for name, bound in bounds.items() if bound is not None}
    return link_to_next(request, {**changes, "limit": str(asked.page.limit), "after": last})


def _page(given: Parameters, most: int) -> Page:
    return Page(given.integer("limit", most, 1, most), given.text("search") or "", given.text("after"))


def _within_limits(
    dependencies: Dependencies, request: Request, most: int, subjects: tuple[str, ...] | None = None
) -> _Asked:
    query = Parameters(request)
    now = Instant(milliseconds(dependencies.clock()) * 1_000_000)
    to = query.instant("to") or now
    from_ = query.instant("from") or Instant(to.nanos - _DEFAULT_SPAN)
    _check_order(from_, to)
    _check_reach(from_, to, now, dependencies.settings.query)
    return _Asked(UsageQuery(from_=from_, to=to, subjects=subjects), _page(query, most))


def _check_order(from_: Instant | None, to: Instant | None) -> None:
    if from_ is None or to is None:
        return
    if from_.nanos == to.nanos:
        raise InvalidRequest("from and to cannot be equal")
    if from_.nanos > to.nanos:
        raise InvalidRequest("from time must be before to time")


def _check_reach(from_: Instant, to: Instant, now: Instant, limits: QuerySettings) -> None:
    if now.nanos - from_.nanos >= limits.values_days * _DAY_NANOS:
        raise InvalidRequest(f"from time must not be more than {limits.values_days} days ago")
    if to.nanos - from_.nanos > limits.values_span_days * _DAY_NANOS:
        raise InvalidRequest(f"time window must be less than {limits.values_span_days} days")
