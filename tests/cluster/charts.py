"""Other forms of the chart: the one of an older release, and those without one of its guards.

Owns: copies of deploy/chart that differ from it in one thing, so that a run shows what this thing is for.
"""

import shutil
from enum import StrEnum
from pathlib import Path

import yaml


class Guard(StrEnum):
    """What a run leaves out. ORDER: that an old pod of `ingest` ends before a new one starts."""

    NONE = "none"
    DRAIN = "drain"
    ORDER = "order"


NEW = "networkPolicy"  # a value that the older chart does not have
_ORDER, _SURGE = "rollingUpdate: {maxSurge: 0, maxUnavailable: 1}", "rollingUpdate: {maxSurge: 1, maxUnavailable: 0}"


def older(chart: Path, directory: Path) -> Path:
    """Return a copy of the chart from before it had NetworkPolicies: without their value, and what checks values."""
    copy = _copied(chart, directory / "older-chart")
    (copy / "templates" / "networkpolicies.yaml").unlink()
    (copy / "values.schema.json").unlink()
    values = yaml.safe_load((copy / "values.yaml").read_text())
    del values[NEW]
    (copy / "values.yaml").write_text(yaml.safe_dump(values))
    return copy


def with_surge(chart: Path, directory: Path) -> Path:
    """Return a copy of the chart whose `ingest` is updated as `api` is: the new pod first."""
    copy = _copied(chart, directory / "chart-with-surge")
    deployments = copy / "templates" / "deployments.yaml"
    text = deployments.read_text()
    assert text.count(_ORDER) == 1, "the chart says in another way how ingest is updated"
    deployments.write_text(text.replace(_ORDER, _SURGE))
    return copy


def _copied(chart: Path, directory: Path) -> Path:
    shutil.copytree(chart, directory)
    return directory
