"""Path and query parameters: they are parsed by the names that a route knows.

Owns: repeated parameters as lists, `name[key]=value` as maps, timestamps, enums and numbers. Parameters that would
otherwise be ignored by mistake are refused by name: a name in the wrong case, a scalar instead of a map, a value given
twice.
Source: docs/contract.md D.8 and "Common HTTP rules".
"""

import re
from enum import StrEnum
from typing import Any, TypeVar, overload

import orjson
from starlette.requests import Request

from api.http.members import refuse_duplicate_members
from api.http.openapi import known_parameters
from api.http.problems import InvalidParameter
from engine.filters import check_operand
from engine.instants import Instant, parse_instant
from engine.meters.definition import SLUG
from engine.names import correct_case

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}\Z")
_MAP = re.compile(r"([^\[\]]+)\[([^\[\]]+)\]\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}\Z", re.ASCII)
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
E = TypeVar("E", bound=StrEnum)


class Parameters:
    """The query string of a request. A route knows the names in api/openapi.yaml; all other names are in `ignored`.

    Raises: InvalidParameter: a known name is in another case or in another form, or it is given twice.
    """

    def __init__(self, request: Request) -> None:
        method = "GET" if request.method == "HEAD" else request.method
        scalars, lists, maps = self._known = known_parameters(request.scope["endpoint"].template, method)
        self._scalars: dict[str, str] = {}
        self._lists: dict[str, list[str]] = {}
        self._maps: dict[str, dict[str, str]] = {}
        self.ignored: list[str] = []
        known = {*scalars, *lists, *maps}
        for full, value in request.query_params.multi_items():
            name, bracket, _ = full.partition("[")
            if name not in known:
                if correct := correct_case(name, known):
                    raise InvalidParameter(f'parameter "{name}" is unknown, did you mean "{correct}"?')
                self.ignored.append(full)
            elif name in maps:
                self._add_to_map(full, value)
            elif bracket:
                raise InvalidParameter(f'parameter "{full}" must be given as {name}=value')
            elif name in lists:
                self._lists.setdefault(name, []).append(value)
            else:
                _add_once(self._scalars, name, value, full)

    def _add_to_map(self, full: str, value: str) -> None:
        match = _MAP.match(full)
        if not match:
            name = full.partition("[")[0]
            raise InvalidParameter(f'parameter "{full}" must be given as {name}[key]=value')
        _add_once(self._maps.setdefault(match[1], {}), match[2], value, full)

    def _scalar(self, name: str) -> str | None:
        assert name in self._known.scalars, f"api/openapi.yaml lacks {name}"  # noqa: S101
        return self._scalars.get(name)

    def text(self, name: str, most: int | None = None) -> str | None:
        """Return a scalar; if `most` is given, it must have 1 to `most` characters."""
        value = self._scalar(name)
        if value is not None and most is not None and not 1 <= len(value) <= most:
            raise _invalid_in_query(name, f"length must be 1 to {most}")
        return None if value is None else _checked_operand(name, value)

    def list(self, name: str) -> list[str]:
        """Return all values of a repeated parameter."""
        assert name in self._known.lists, f"api/openapi.yaml lacks {name}"  # noqa: S101
        return [_checked_operand(name, value) for value in self._lists.get(name, [])]

    def map(self, name: str) -> dict[str, str]:
        """Return the keys and values of `name[key]=value`."""
        assert name in self._known.maps, f"api/openapi.yaml lacks {name}"  # noqa: S101
        return {key: _checked_operand(name, value) for key, value in self._maps.get(name, {}).items()}

    def instant(self, name: str) -> Instant | None:
        """Return a timestamp."""
        value = self._scalar(name)
        try:
            return None if value is None else parse_instant(value)
        except ValueError as error:
            raise InvalidParameter(f"invalid param format from: {name}: {error}") from None

    def json(self, name: str) -> dict[str, Any] | None:
        """Return a parameter whose value is a JSON object."""
        value = self._scalar(name)
        try:
            parsed = None if value is None else orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InvalidParameter(f"invalid param format from: {name}: not JSON: {error}") from None
        if value is not None and not isinstance(parsed, dict):
            raise InvalidParameter(f"invalid param format from: {name}: not a JSON object")
        if value is not None:
            refuse_duplicate_members(f"invalid param format from: {name}", value.encode(), parsed)
        return parsed

    @overload
    def integer(self, name: str, default: int, least: int, most: int) -> int: ...

    @overload
    def integer(self, name: str, default: None, least: int, most: int) -> int | None: ...

    def integer(self, name: str, default: int | None, least: int, most: int) -> int | None:
        """Return an integer from `least` to `most`, both included."""
        value = self._scalar(name)
        if value is None:
            return default
        if not _INTEGER.match(value):
            raise InvalidParameter(f"invalid param format from: {name}: not a whole number")
        if not least <= int(value) <= most:
            raise _invalid_in_query(name, f"number must be {least} to {most}")
        return int(value)

    def flag(self, name: str) -> bool:
        """Return a boolean; False if the parameter is absent."""
        value = self._scalar(name)
        if value is None:
            return False
        if value not in _FLAGS:
            raise InvalidParameter(f"invalid param format from: {name}: not true or false")
        return _FLAGS[value]

    def choice(self, name: str, choices: type[E]) -> E | None:
        """Return a member of an enum."""
        value = self._scalar(name)
        return None if value is None else choice(name, value, choices)


def choice(name: str, value: str, choices: type[E]) -> E:
    """Return the member of an enum that a parameter names. Raises: InvalidParameter."""
    try:
        return choices(value)
    except ValueError:
        allowed = ",".join(f'"{member.value}"' for member in choices)
        raise _invalid_in_query(name, f"value is not one of the allowed values [{allowed}]") from None


def slug(request: Request) -> str:
    """Return the meter slug of the path. Raises: InvalidParameter."""
    value = str(request.path_params["slug"])
    if len(value) > 64 or not SLUG.match(value):
        raise InvalidParameter('parameter "meterSlug" in path has an error: not a slug')
    return value


def slug_or_id(request: Request) -> str:
    """Return the meter slug or ULID of the path. Raises: InvalidParameter."""
    value = str(request.path_params["meter"])
    if len(value) > 64 or not (SLUG.match(value) or _ULID.match(value)):
        raise InvalidParameter('parameter "meterIdOrSlug" in path has an error: neither a slug nor a ULID')
    return value


def _add_once(values: dict[str, str], name: str, value: str, full: str) -> None:
    if name in values:
        raise InvalidParameter(f'parameter "{full}" has multiple values')
    values[name] = value


def _checked_operand(name: str, value: str) -> str:
    try:
        return check_operand(value)
    except ValueError as error:
        raise _invalid_in_query(name, str(error)) from None


def _invalid_in_query(name: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f'parameter "{name}" in query has an error: {reason}')
