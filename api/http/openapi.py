"""The OpenAPI document of the API: served as JSON, and asked which query parameters a route knows.

Owns: the reading of api/openapi.yaml, once a process. What a route takes stands there and nowhere else, so document
and routes cannot drift apart; tests/api/test_openapi.py holds paths, methods and guards against each other.
Source: docs/contract.md D.15.
"""

import functools
import re
from importlib import resources
from typing import Any, NamedTuple

import orjson
import yaml


class Known(NamedTuple):
    """The query parameters of a route by how they are given: once, repeated, or as name[key]=value."""

    scalars: frozenset[str]
    lists: frozenset[str]
    maps: frozenset[str]


@functools.cache
def document() -> dict[str, Any]:
    """Return the document."""
    text = resources.files("api").joinpath("openapi.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 60 ms; without libyaml ten times that
    return dict(yaml.load(text, loader))  # noqa: S506 - either loader is a safe one


@functools.cache
def document_json() -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document())


@functools.cache
def known_parameters(template: str, method: str) -> Known:
    """Return the query parameters of a route. Raises: KeyError: it is not in the document."""
    operation = document()["paths"][documented_path(template)][method.lower()]
    by_kind: dict[str, set[str]] = {"scalar": set(), "array": set(), "object": set()}
    for given in operation.get("parameters", []):
        parameter = _resolved(given)
        if parameter["in"] == "query":
            kind = _resolved(parameter.get("schema", {})).get("type")
            by_kind[kind if kind in by_kind else "scalar"].add(parameter["name"])
    return Known(*(frozenset(names) for names in by_kind.values()))


def documented_path(template: str) -> str:
    """Return a route's path without the kinds of its parameters: {subject:path} is {subject} in the document."""
    return re.sub(r":\w+}", "}", template)


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node, or the component it refers to."""
    if "$ref" not in node:
        return node
    found: Any = document()
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)
