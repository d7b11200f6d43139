"""What is asked of a meter, and what is wrong with a question.

Source: docs/contract.md "Usage queries".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.errors import InvalidRequest
from engine.filters import Filter
from engine.instants import Instant
from engine.meters.meter import Meter
from engine.usage.windows import WindowSize, zone


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked of a meter.

    `subjects`: None is all; naming some also groups by subject. `filters`: a group-by key and the texts it may have.
    `advanced`: a group-by key and the filter its text must pass; never both of them.
    `group_by`: group-by keys or "subject", in the order wanted. `max_groups`: None is any number; where there are more,
    the largest of the whole range stay, one fewer than that, and all others are one group together.
    """

    from_: Instant | None = None
    to: Instant | None = None
    window_size: WindowSize | None = None
    zone: str = "UTC"
    subjects: tuple[str, ...] | None = None
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    advanced: Mapping[str, Filter] = field(default_factory=dict)
    max_groups: int | None = None


def check_query(query: UsageQuery, meter: Meter) -> UsageQuery:
    """Return the query as it is run: subject in the group-by when subjects are named.

    Raises: InvalidRequest: names the parameter.
    """
    zone(query.zone)
    if query.from_ is not None and query.to is not None:
        if query.from_.nanos == query.to.nanos:
            raise InvalidRequest("from and to cannot be equal")
        if query.from_.nanos > query.to.nanos:
            raise InvalidRequest("from must be before to")
    known = {*meter.dimensions, "subject"}
    for key in query.group_by:
        if key not in known:
            raise InvalidRequest(f"invalid group by: {key}")
    for key, texts in query.filters.items():
        if key not in meter.dimensions:
            raise InvalidRequest(f"invalid group by filter: {key}")
        if "" in texts:
            raise InvalidRequest(f"invalid group by filter: {key}: filter is invalid: format mismatch")
    for key in query.advanced:
        if key not in meter.dimensions:
            raise InvalidRequest(f"meter does not have group by: {key}")
    if query.max_groups is not None and not query.group_by:
        raise InvalidRequest("maxGroups cannot be used without groupBy")
    group_by = tuple(dict.fromkeys(query.group_by))
    if query.subjects is not None and "subject" not in group_by:
        group_by = ("subject", *group_by)
    return replace(query, group_by=group_by)
