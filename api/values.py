"""What a meter's events name: its subjects, and the values of a group-by key, within look-back limits.

Source: docs/contract.md "Meters" (subjects, group-by values), D.14, D.24.
"""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from api.parameters import Parameters, slug, slug_or_id
from api.responses import json_response
from api.services import Services, in_thread
from api.usage import live_meter, meter_of_slug, with_fresh_meter
from engine.clock import milliseconds
from engine.errors import InvalidRequest
from engine.instants import Instant
from engine.meters import Meter
from engine.settings import QuerySettings
from engine.tokens import Claims
from engine.usage import UsageQuery, distinct_values

_DAY_NANOS = 86_400 * 10**9
_DEFAULT_SPAN = timedelta(hours=24) // timedelta(microseconds=1) * 1000  # nanoseconds


async def subjects(services: Services, request: Request) -> Response:
    """List the subjects with events of a meter, sorted."""
    wanted = slug_or_id(request)
    query = Parameters(request)
    from_, to = query.instant("from"), query.instant("to")
    _check_order(from_, to)
    asked = UsageQuery(from_=from_, to=to)

    def ask(meter: Meter) -> list[str]:
        return distinct_values(services.store, meter, "subject", asked)

    found = await in_thread(request, lambda: with_fresh_meter(services, lambda: live_meter(services, wanted), ask))
    return json_response(found)


async def group_by_values(services: Services, request: Request) -> Response:
    """List the values of a group-by key, sorted; of the last 24 hours unless bounds are given."""
    wanted, key = slug_or_id(request), str(request.path_params["key"])
    asked = _within_limits(services, request)

    def ask(meter: Meter) -> list[str]:
        return _values(services, meter, key, asked)

    found = await in_thread(request, lambda: with_fresh_meter(services, lambda: live_meter(services, wanted), ask))
    return json_response(found)


async def portal_group_by_values(services: Services, request: Request, claims: Claims) -> Response:
    """List the values of a group-by key among the events of the token's subject."""
    wanted, key = slug(request), str(request.path_params["key"])
    asked = _within_limits(services, request, (claims.subject,))

    def ask(meter: Meter) -> list[str]:
        return _values(services, meter, key, asked)

    found = await in_thread(request, lambda: with_fresh_meter(services, lambda: meter_of_slug(services, wanted), ask))
    return json_response(found)


def _values(services: Services, meter: Meter, key: str, asked: UsageQuery) -> list[str]:
    if key not in meter.dimensions:
        raise InvalidRequest("group by key is not valid for this meter")
    return distinct_values(services.store, meter, key, asked)


def _within_limits(services: Services, request: Request, subjects: tuple[str, ...] | None = None) -> UsageQuery:
    query = Parameters(request)
    now = Instant(milliseconds(services.clock()) * 1_000_000)
    to = query.instant("to") or now
    from_ = query.instant("from") or Instant(to.nanos - _DEFAULT_SPAN)
    _check_order(from_, to)
    _check_reach(from_, to, now, services.settings.query)
    return UsageQuery(from_=from_, to=to, subjects=subjects)


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
