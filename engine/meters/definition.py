"""The definition of a meter as a user writes it, and the rules that a definition must follow.

Owns: `MeterDefinition`, and the error messages for an invalid one, whether it comes from the API or from the settings.
Source: docs/contract.md, "Meters".
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from engine.errors import ConfigurationError, InvalidMeter
from engine.instants import parse_instant
from engine.meters.aggregations import Aggregation
from engine.texts import control_problems, printable

SLUG = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*\Z")


_GROUP_BY_KEY = re.compile(r"[a-zA-Z_][0-9a-zA-Z_]*\Z")


RESERVED_KEYS = frozenset({"subject", "customer_id"})


MAX_GROUP_BY = 30


# With this limit, the paths of a meter, and those of many meters of one event type, fit into one SQL statement.
MAX_PATH_CHARACTERS = 1024


def _check_form(value: object) -> object:
    """Refuse values that pydantic would accept although they are not RFC 3339 timestamps with an offset.

    These are numbers, dates, and times without an offset. Raises: ValueError.
    """
    if isinstance(value, str):
        parse_instant(value)
    elif value is not None and not isinstance(value, datetime):
        raise ValueError("not an RFC 3339 timestamp with an offset")
    return value


def _check_utc(instant: datetime | None) -> datetime | None:
    """Return the instant. Raises: ValueError: it has no offset, or is outside of the years 0001 to 9999 in UTC."""
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise ValueError("must carry a time zone offset")
    try:
        instant.astimezone(UTC)  # 0001-01-01T00:00:00+01:00 has no year in UTC
    except OverflowError:
        raise ValueError("must be within the years 0001 to 9999 in UTC") from None
    return instant


class MeterDefinition(BaseModel):
    """A meter as a user writes it, in YAML or JSON; there its members have the API's names, such as `eventType`."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, serialize_by_alias=True)

    slug: str = Field(min_length=1, max_length=64)
    name: str = Field(default="", max_length=256)
    description: str | None = Field(default=None, max_length=1024)
    aggregation: Aggregation
    event_type: str = Field(min_length=1, max_length=2048)
    event_from: Annotated[datetime | None, BeforeValidator(_check_form), AfterValidator(_check_utc)] = None
    value_property: str | None = None
    group_by: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, str] | None = None

    @field_validator("slug")
    @classmethod
    def _check_slug(cls, slug: str) -> str:
        if not SLUG.match(slug):
            raise ValueError("slug must be lower-case letters and digits, joined by single underscores")
        return slug

    @field_validator("group_by", mode="before")
    @classmethod
    def _none_as_empty(cls, group_by: Any) -> Any:
        return {} if group_by is None else group_by

    @model_validator(mode="after")
    def _check_rules(self) -> "MeterDefinition":
        problems = [
            *self._text_problems(),
            *self._value_problems(),
            *self._group_by_problems(),
            *self._path_problems(),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        if not self.name:
            object.__setattr__(self, "name", self.slug)
        return self

    def _text_problems(self) -> list[str]:
        return ["description must not be empty string"] if self.description == "" else []

    def _value_problems(self) -> list[str]:
        prefix = "invalid meter aggregation: meter value property"
        if self.aggregation is Aggregation.COUNT:
            return [] if self.value_property is None else [f"{prefix} is not allowed when the aggregation is count"]
        if self.value_property is None:
            return [f"{prefix} is required when the aggregation is not count"]
        if not self.value_property:
            return [f"{prefix} cannot be empty when the aggregation is not count"]
        return [] if self.value_property.startswith("$") else [f"{prefix} must start with $"]

    def _group_by_problems(self) -> list[str]:
        prefix = "invalid meter group by: meter group by"
        if len(self.group_by) > MAX_GROUP_BY:
            return [f"{prefix} has more than {MAX_GROUP_BY} keys"]
        for key, path in self.group_by.items():
            if not path.startswith("$"):
                return [f"{prefix} value must start with $ for key {key}"]
            if not key:
                return [f"{prefix} key cannot be empty"]
            if not _GROUP_BY_KEY.match(key):
                return [f"{prefix} key {key} is invalid, only alphanumeric and underscore characters are allowed"]
            if key in RESERVED_KEYS:
                return [f"{prefix} key {key} is reserved"]
            if path == self.value_property:
                return [f"{prefix} value {key} cannot be the same as value property"]
        return []

    def _path_problems(self) -> list[str]:
        paths_by_name = {
            "valueProperty": self.value_property or "",
            **{f"groupBy.{k}": path for k, path in self.group_by.items()},
        }
        too_long = [name for name, path in paths_by_name.items() if len(path) > MAX_PATH_CHARACTERS]
        return [f"{name}: is longer than {MAX_PATH_CHARACTERS} characters" for name in too_long]

    @property
    def paths(self) -> list[str]:
        """Every JSONPath of the definition."""
        return [*([self.value_property] if self.value_property else []), *self.group_by.values()]

    @property
    def counted(self) -> tuple[object, ...]:
        """The part of the definition that decides what is counted; the other fields are only displayed."""
        return (self.slug, self.aggregation, self.event_type, self.event_from, self.value_property, self.group_by)


MEMBERS = frozenset(field.alias or name for name, field in MeterDefinition.model_fields.items())  # the API's names


def parse_definition(body: object) -> MeterDefinition:
    """Return the definition that a parsed JSON or YAML body contains.

    Raises: InvalidMeter: the body breaks a rule; the message names every broken rule, one on each line.
    """
    try:
        definition = MeterDefinition.model_validate(body)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            message = problem["msg"].removeprefix("Value error, ")
            where = ".".join(str(part) for part in problem["loc"])
            lines.append(f"{where}: {message}" if where else message)
        raise InvalidMeter("\n".join(lines)) from None
    metadata = definition.metadata or {}
    names = {"name": definition.name, "eventType": definition.event_type, "metadata": "".join(metadata)}
    notes = {printable(f"metadata.{name}"): text for name, text in metadata.items()}
    prose = {"description": definition.description, **notes}
    if problems := [*control_problems(names, prose)]:
        raise InvalidMeter("\n".join(problems))
    return definition


def configured_definitions(bodies: Sequence[Mapping[str, Any]], reserved: Sequence[str]) -> list[MeterDefinition]:
    """Return the meter definitions of a settings file.

    They follow the same rules as definitions sent to the API; in addition, unknown members are refused.
    Args: reserved: regular expressions that no event type may match.
    Raises: ConfigurationError: the first problem found, such as `meters[0].eventType: …`.
    """
    definitions: list[MeterDefinition] = []
    for index, body in enumerate(bodies):
        for name in body:
            if name not in MEMBERS:
                raise ConfigurationError(f"meters[{index}].{name}: no such member of a meter")
        try:
            definition = parse_definition(body)
            check_event_type(definition.event_type, reserved)
        except InvalidMeter as error:
            raise ConfigurationError(f"meters[{index}]{_location_suffix(str(error).splitlines()[0])}") from None
        if any(definition.slug == other.slug for other in definitions):
            raise ConfigurationError(f"meters[{index}].slug: duplicate slug {definition.slug}")
        definitions.append(definition)
    return definitions


def _location_suffix(line: str) -> str:
    """Return a problem as the text that follows `meters[0]`: `.member: …`, or `: …` if it is about no member."""
    line = line.replace("invalid event type: ", "eventType: ", 1)
    return f".{line}" if re.split(r"[.:]", line)[0] in MEMBERS else f": {line}"


def check_event_type(event_type: str, reserved: Sequence[str]) -> None:
    """Check that an event type matches none of the reserved patterns.

    Args: reserved: regular expressions, searched for anywhere in the event type. Raises: InvalidMeter: one was found.
    """
    for pattern in reserved:
        if re.search(pattern, event_type):
            raise InvalidMeter(f"invalid event type: event type '{event_type}' matched reserved pattern '{pattern}'")
