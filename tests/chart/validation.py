"""The validation of Kubernetes objects: against the schemas of each release, and of the operators' own kinds.

Every field that a schema does not have is a fault, as for `kubectl apply --validate=strict`.
Limits: rules in CEL, and what only an API server decides, are not checked.
Source: the package kubernetes-validate, the definitions that tests/chart/tools.py unpacks, and those in crds.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import yaml

from tests.chart.tools import DEFINITIONS, ROOT, SCHEMAS

KUBERNETES = tuple(f"1.{minor}" for minor in range(28, 38))
COPIED_DEFINITIONS = ROOT / "tests" / "chart" / "crds"  # of operators that no module or package has
Object = dict[str, Any]


def faults(obj: Object, release: str) -> list[str]:
    """Return what is wrong with an object in a release of Kubernetes, such as "1.34"."""
    if obj["apiVersion"].split("/")[0].count(".") and f"{obj['apiVersion']} {obj['kind']}" in _operators_kinds():
        validator = _operators_kinds()[f"{obj['apiVersion']} {obj['kind']}"]
    else:
        validator = _validator(obj["apiVersion"], obj["kind"], release)
    name = f"{obj['kind']} {obj['metadata'].get('name')}"
    return [
        f"{name}: {'.'.join(map(str, error.instance_path))}: {error.message[:300]}"
        for error in validator.iter_errors(obj)
    ]


@cache
def _validator(api_version: str, kind: str, release: str) -> jsonschema_rs.Validator:
    folder = SCHEMAS / f"v{release}.0-local-strict"
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = json.loads((folder / f"{kind.lower()}-{group}.json").read_bytes())
    needed = dict(_needed(schema, _definitions(release)))
    # References lead to a file of definitions beside the schema.
    text = json.dumps(schema | {"$defs": needed}).replace("/api/_definitions.json#", "#")
    return jsonschema_rs.Draft202012Validator(json.loads(text))


def _needed(schema: Any, definitions: Object) -> Iterator[tuple[str, Object]]:
    """Yield the definitions to which a schema leads, directly or not."""
    seen: set[str] = set()
    open_ = [schema]
    while open_:
        for name in re.findall(r'#/\$defs/([^"]+)"', json.dumps(open_.pop())):
            if name not in seen:
                seen.add(name)
                open_.append(definitions[name])
                yield name, definitions[name]


@cache
def _definitions(release: str) -> Object:
    path = SCHEMAS / f"v{release}.0-local-strict" / "_definitions.json"
    found: Object = json.loads(path.read_bytes())["$defs"]
    return found


@cache
def _operators_kinds() -> dict[str, jsonschema_rs.Validator]:
    """Return the validators of operators' kinds, by API version and kind."""
    found: dict[str, jsonschema_rs.Validator] = {}
    for file in (*DEFINITIONS.glob("*.yaml"), *COPIED_DEFINITIONS.glob("*.yaml")):
        spec = yaml.load(file.read_bytes(), yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"], top=True)
            key = f"{spec['group']}/{version['name']} {spec['names']['kind']}"
            found[key] = jsonschema_rs.Draft7Validator(schema)
    return found


def _strict(schema: Object, top: bool = False) -> Object:
    """Return a schema of a definition as JSON Schema that refuses unknown fields. Args: top: it is the whole object."""
    strict = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
        strict["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "(?i)" in schema.get("pattern", ""):  # JSON Schema has no such flag
        del strict["pattern"]
    if "properties" in schema:
        strict["properties"] = {name: _strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            strict["additionalProperties"] = False
    if top:
        strict["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            strict[key] = _strict(schema[key])
    return strict
