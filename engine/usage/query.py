"""A usage query, and the check whether a meter can answer it.

Source: docs/contract.md "Usage queries".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.errors import InvalidRequest
from engine.filters import Filter
from engine.instants import Instant
from engine.meters.meter import Meter
from engine.usage.windows import WindowSize
from engine.usage.zones import zone


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A usage query.

    `subjects`: None means all subjects; if some are named, the answer is also grouped by subject.
    `filters`: for a group-by key, the texts that it may have. `advanced`: for a group-by key, the filter that its text
    must pass. A query has `filters` or `advanced`, never both.
    `group_by`: group-by keys or "subject", in the order of the answer.
    `max_groups`: None means any number. If there are more groups, the answer has `max_groups` - 1 of them, those with
    the largest usage in the whole range, and all others together as one group.
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

    def resolved(self, meter: Meter) -> "UsageQuery":
        """Check the query against a meter, and return it as it is run.

        If it names subjects, it is also grouped by subject. Filters without texts are left out.
        Raises: InvalidRequest: the message names the parameter.
        """
        zone(self.zone)
        if self.from_ is not None and self.to is not None:
            if self.from_.nanos == self.to.nanos:
                raise InvalidRequest("from and to cannot be equal")
            if self.from_.nanos > self.to.nanos:
                raise InvalidRequest("from must be before to")
        self._check_keys(meter)
        if self.max_groups is not None and not self.group_by:
            raise InvalidRequest("maxGroups cannot be used without groupBy")
        group_by = tuple(dict.fromkeys(self.group_by))
        if self.subjects is not None and "subject" not in group_by:
            group_by = ("subject", *group_by)
        filters = {key: texts for key, texts in self.filters.items() if texts}
        return replace(self, group_by=group_by, filters=filters)

    def _check_keys(self, meter: Meter) -> None:
        known = {*meter.dimensions, "subject"}
        for key in self.group_by:
            if key not in known:
                raise InvalidRequest(f"invalid group by: {key}")
        for key, texts in self.filters.items():
            if key not in meter.dimensions:
                raise InvalidRequest(f"invalid group by filter: {key}")
            if "" in texts:
                raise InvalidRequest(f"invalid group by filter: {key}: filter is invalid: format mismatch")
        for key in self.advanced:
            if key not in meter.dimensions:
                raise InvalidRequest(f"meter does not have group by: {key}")
