"""The OpenAPI document of the API: it is served as JSON, and it defines which query parameters a route knows.

Owns: the reading of api/openapi.yaml, once per process. The query parameters of a route are listed only there, so the
document and the routes cannot differ; tests/api/test_openapi.py compares their paths, methods and guards.
Source: docs/contract.md D.15.
"""

import functools
import re
from importlib import resources
from typing import Any, NamedTuple

import orjson
import yaml


class KnownParameters(NamedTuple):
    """The query parameters of a route by the way they are given: once, repeated, or as name[key]=value."""

    scalars: frozenset[str]
    lists: frozenset[str]
    maps: frozenset[str]


@functools.cache
def document() -> dict[str, Any]:
    """Return the document, parsed."""
    text = resources.files("api").joinpath("openapi.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # It takes 60 ms, and ten times as long without libyaml.
    return dict(yaml.load(text, loader))  # noqa: S506 - both loaders are safe


@functools.cache
def document_json() -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document())


@functools.cache
def known_parameters(template: str, method: str) -> KnownParameters:
    """Return the query parameters of a route. Raises: KeyError: the route is not in the document."""
    operation = document()["paths"][documented_path(template)][method.lower()]
    by_kind: dict[str, set[str]] = {"scalar": set(), "array": set(), "object": set()}
    for given in operation.get("parameters", []):
        parameter = _resolved(given)
        if parameter["in"] == "query":
            kind = _resolved(parameter.get("schema", {})).get("type")
            by_kind[kind if kind in by_kind else "scalar"].add(parameter["name"])
    return KnownParameters(*(frozenset(names) for names in by_kind.values()))


def documented_path(template: str) -> str:
    """Return a route's path without parameter types: `{subject:path}` is `{subject}` in the document."""
    return re.sub(r":\w+}", "}", template)


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node of the document, or the component that its `$ref` names."""
    if "$ref" not in node:
        return node
    found: Any = document()
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)
