"""The schema of the chart's values: Helm checks it before it renders, and editors complete names from it.

Owns: values.schema.json of deploy/chart, which `python -m tests.chart.schema` writes. `config` is the model of the
settings, `secrets` has the settings that may come from a Secret, and the chart's own keys are those of values.yaml.
Every name that is not there is refused.
Limits: a secret in `config` passes the schema, because a guard of the chart refuses it with a better message.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, SecretStr

from engine.config.api_keys import Scope
from engine.config.settings import Settings, setting_names
from tests.chart.tools import ROOT

CHART = ROOT / "deploy" / "chart"
SCHEMA = CHART / "values.schema.json"
Schema = dict[str, Any]

_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
# Objects whose names are those of Kubernetes, or free.
_OPEN = re.compile(r"(podS|s)ecurityContext|.*\.resources")
_DIGEST, _PORT = r"^(sha256:[0-9a-f]{64})?$", {"type": "integer", "minimum": 1, "maximum": 65535}
_ANNOTATIONS, _LABELS = re.compile(r".*[Aa]nnotations"), re.compile(r".*([Ll]abels|nodeSelector)")
# What Kubernetes takes as the name of a label or annotation, as the value of a label, and as a quantity.
_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_LABEL_NAME = {"pattern": rf"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_WORD}$"}
_LABEL: Schema = {"type": "string", "pattern": f"^({_WORD})?$", "maxLength": 63}
_QUANTITY = r"[0-9]+(\.[0-9]*)?([kMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]+)?"
# What the defaults of values.yaml do not say, by the path of the value.
_SPECIAL: dict[str, Schema] = {
    "mode": {"enum": ["distributed", "embedded"]},
    "migrations.run": {"enum": ["start", "job"]},
    "migrations.backoffLimit": {"type": "integer", "minimum": 0},
    "image.digest": {"type": "string", "pattern": _DIGEST},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.tag": {"type": "string"},
    "nameOverride": {"type": "string", "pattern": f"^({_WORD})?$"},
    "embedded.persistence.size": {"type": ["string", "integer"], "pattern": f"^{_QUANTITY}$"},
    "embedded.persistence.storageClass": {"type": ["string", "null"]},
    "ingest.keda.lagThreshold": {"type": ["integer", "null"], "minimum": 1},
    "ingest.keda.metadata": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "patternProperties": {"^lagThreshold$": {"type": "string", "pattern": "^[0-9]+$"}},
    },
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.port": _PORT,
    "service.nodePort": {**_PORT, "type": ["integer", "null"]},
    "service.loadBalancerClass": {"type": ["string", "null"]},
    "service.externalTrafficPolicy": {"enum": ["Cluster", "Local", None]},
    "ingress.hosts": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["host"],
            "properties": {
                "host": {"type": "string"},
                "paths": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "path": {"type": "string", "pattern": "^/"},
                            "pathType": {"enum": ["Exact", "Prefix", "ImplementationSpecific"]},
                        },
                    },
                },
            },
        },
    },
    "httpRoute.hostnames": {"type": "array", "items": {"type": "string"}},
    "extraObjects": {"type": "array", "items": {"type": ["string", "object"]}},
    "tmp.sizeLimit": {"type": ["string", "integer"], "pattern": f"^({_QUANTITY})?$"},
}
for _component in ("api", "ingest", "embedded"):
    _SPECIAL[f"{_component}.topologySpreadConstraints"] = {"type": ["array", "null"]}
    _SPECIAL[f"{_component}.replicas"] = {"type": "integer", "minimum": 0}
    for _target in ("targetCPUUtilizationPercentage", "targetMemoryUtilizationPercentage"):
        _SPECIAL[f"{_component}.autoscaling.{_target}"] = {"type": ["integer", "null"], "minimum": 1}
    _SPECIAL[f"{_component}.extraEnv"] = {
        "type": "array",
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
    }
# Settings that the chart must know itself, for KEDA for example.
_NEVER_SECRET = frozenset({"kafka.security_protocol", "kafka.sasl_mechanism", "kafka.group_protocol"})


# Settings that may be in `config` as long as no secret is in them: guards of the chart look for one.
_PARTLY_SECRET = frozenset({"api_keys", "kafka.options", "store.url"})
_SECRET: Schema = {"description": "A secret: see the value `secrets`."}


def values_schema() -> Schema:
    """Return the schema of the chart's values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    own = {name: value for name, value in values.items() if name not in {"config", "secrets"}}
    root = _whole({name: _of_default(name, value) for name, value in own.items()})
    root["required"] += ["config", "secrets"]
    of_store = [name for name in sorted(secret_settings()) if name.startswith("store.")]
    root["properties"]["migrations"]["properties"]["secrets"] = _object(dict.fromkeys(of_store, _SECRET_KEY))
    root["properties"] |= {
        "config": config_schema(),
        "secrets": _object(dict.fromkeys(sorted(secret_settings()), _SECRET_KEY)),
        "global": {
            "type": "object",
            "description": "The values of a parent chart; imageRegistry and imagePullSecrets.",
        },
        "enabled": {"type": "boolean", "description": "For the condition of a parent chart's dependency."},
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "The values of Meterport's chart", **root}


def config_schema() -> Schema:
    """Return the schema of the program's settings, without references, and without types for secrets."""
    whole = Settings.model_json_schema()
    schema: Schema = _plain(whole, whole["$defs"])
    for name in masked_settings():
        *groups, last = name.split(".")
        where = schema
        for group in groups:
            where = where["properties"][group]
        where["properties"][last] = _SECRET
    entry = schema["properties"]["api_keys"]["items"]
    entry["required"] = ["name", "scopes"]
    entry["properties"] |= {
        "key": _SECRET,
        "key_sha256": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
        "scopes": {"type": "array", "minItems": 1, "items": {"enum": [*Scope]}},
    }
    return schema


def masked_settings() -> set[str]:
    """Return the settings that consist of secrets only."""
    return {name for name in setting_names() if _holds_secrets(name)} - _PARTLY_SECRET


def secret_settings() -> set[str]:
    """Return the settings that may come from a Secret: keys, and all texts about ClickHouse and Kafka."""
    texts = {
        name
        for name, field in setting_names().items()
        if name.startswith(("store.", "kafka.")) and "str" in str(field.annotation)
    }
    return {name for name in setting_names() if _holds_secrets(name)} | texts - _NEVER_SECRET | {"api_key_sha256"}


_SECRET_KEY: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "key"],
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
        "key": {"type": "string", "pattern": r"^[-._a-zA-Z0-9]+$", "maxLength": 253},
    },
}


def _holds_secrets(name: str) -> bool:
    annotation = setting_names()[name].annotation
    entries = [each for each in get_args(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
    members = [field.annotation for entry in entries for field in entry.model_fields.values()]
    return any(SecretStr.__name__ in str(each) for each in (annotation, *members))


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _whole(properties: dict[str, Schema]) -> Schema:
    """Return an object that has its parts. Only free objects, lists and texts may be removed with null."""
    required = [
        name
        for name, schema in properties.items()
        if "properties" in schema
        or schema.get("type") in ("boolean", "integer")
        or None not in schema.get("enum", [None])
    ]
    return _object(properties) | {"required": required}


def _of_default(path: str, value: Any) -> Schema:
    """Return the schema of one of the chart's own values."""
    if path in _SPECIAL:
        return _SPECIAL[path]
    if isinstance(value, dict):
        if _LABELS.fullmatch(path):
            return {"type": "object", "additionalProperties": _LABEL, "propertyNames": _LABEL_NAME}
        if _ANNOTATIONS.fullmatch(path):
            return {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": _LABEL_NAME}
        if not value or _OPEN.fullmatch(path):
            return {"type": "object"}
        return _whole({name: _of_default(f"{path}.{name}", inner) for name, inner in value.items()})
    return {"type": "array", "items": {"type": "object"}} if value == [] else {"type": _TYPES[type(value)]}


def _plain(schema: Any, definitions: Schema) -> Any:
    """Return a part of pydantic's schema with its references resolved, and without what says nothing to Helm."""
    if isinstance(schema, list):
        return [_plain(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]] | {"description": schema.get("description", "")}
    return dict(_kept(schema, definitions))


def _kept(schema: Schema, definitions: Schema) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        if key == "properties":
            yield key, {name: _plain(one, definitions) for name, one in value.items()}
        elif key not in {"title", "$defs", "default", "format", "writeOnly"} and value != "":
            yield key, _plain(value, definitions)


def own_paths(schema: Schema | None = None, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each of the chart's own values, which are not settings of the program."""
    for name, inner in (schema or values_schema())["properties"].items():
        if (*before, name) not in {("config",), ("secrets",)}:
            yield (*before, name)
            if "properties" in inner and name != "secrets":
                yield from own_paths(inner, (*before, name))


def schema_text() -> str:
    """Return what values.schema.json must contain."""
    return json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"


def main(path: Path = SCHEMA) -> None:
    """Write the schema."""
    path.write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
