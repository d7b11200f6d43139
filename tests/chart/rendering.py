"""The chart, as Helm 3 and Helm 4 render it.

Owns: how Helm is called, and the files of values in deploy/chart/ci. Nothing here talks to a cluster.
"""

import copy
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.chart.schema import CHART
from tests.chart.tools import HELMS

CI_FILES = sorted((CHART / "ci").glob("*.yaml"))
REFUSED_FILES = sorted((CHART / "ci" / "refused").glob("*.yaml"))
LEAST = CHART / "ci" / "distributed.yaml"
LEAST_EMBEDDED = CHART / "ci" / "embedded.yaml"
ci_files = pytest.mark.parametrize("values", CI_FILES, ids=lambda file: file.stem)
# `make chart-quick` renders with Helm 4 alone, apart from one comparison; `make chart` checks all with both.
both_helms = pytest.mark.parametrize("release", [pytest.param(3, marks=pytest.mark.thorough), 4])
Object = dict[str, Any]


class Answer(NamedTuple):
    """What Helm printed, and whether it succeeded."""

    succeeded: bool
    output: str
    complaints: str


def helm(release: int, *arguments: str | Path, cwd: Path | None = None) -> Answer:
    """Run Helm 3 or Helm 4 without any configuration of this machine's user."""
    with tempfile.TemporaryDirectory() as home:
        names = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        environment = {"PATH": os.environ["PATH"], "HOME": home, **dict.fromkeys(names, home)}
        environment["KUBECONFIG"] = f"{home}/none"
        done = subprocess.run(
            [HELMS[release], *arguments], capture_output=True, text=True, env=environment, cwd=cwd, check=False
        )
    return Answer(done.returncode == 0, done.stdout, done.stderr)


def rendered_text(*values: Path, release: int = 4, name: str = "m", chart: Path = CHART, sets: str = "") -> str:
    """Return the text of all objects. Args: values: files. sets: as for --set. Raises: AssertionError: Helm refuses."""
    answer = template(*values, release=release, name=name, chart=chart, sets=sets)
    assert answer.succeeded, answer.complaints
    return answer.output


def template(*values: Path, release: int = 4, name: str = "m", chart: Path = CHART, sets: str = "") -> Answer:
    """Return what `helm template` answers. All tests share one answer, so that each set of values is rendered once."""
    return _template(values, release, name, chart, sets)


def template_anew(*values: Path, release: int = 4) -> Answer:
    """Return what `helm template` answers this time."""
    return _template.__wrapped__(values, release, "m", CHART, "")


@cache
def _template(values: tuple[Path, ...], release: int, name: str, chart: Path, sets: str) -> Answer:
    files = [part for file in values for part in ("--values", file)]
    return helm(release, "template", name, chart, "--namespace", "usage", *files, *(["--set", sets] if sets else []))


def rendered(*values: Path, release: int = 4, name: str = "m", chart: Path = CHART, sets: str = "") -> list[Object]:
    """Return all objects in the order in which Helm prints them. Raises: AssertionError: Helm refuses the values."""
    text = rendered_text(*values, release=release, name=name, chart=chart, sets=sets)
    return copy.deepcopy(parsed(text))


class _Strict(yaml.CSafeLoader):
    """Refuses a name that is twice in one mapping: an API server takes one of the two, or neither."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        names = [key.value for key, _ in node.value]
        assert len(names) == len(found), [name for name in names if names.count(name) > 1]
        return found


@cache
def parsed(text: str) -> list[Object]:
    """Return the objects in a text. Several tests share them: they must not be changed."""
    return [found for found in yaml.load_all(text, _Strict) if found]


def one(objects: list[Object], kind: str, ending: str = "") -> Object:
    """Return the only object of a kind whose name has an ending."""
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(ending)]
    return found


def pods(objects: list[Object]) -> dict[str, Object]:
    """Return the templates of the pods that serve or ingest, by the command of Meterport that they run."""
    templates = [o["spec"]["template"] for o in objects if o["kind"] in {"Deployment", "StatefulSet"}]
    return {template["spec"]["containers"][0]["args"][0]: template for template in templates}


def all_pods(objects: list[Object]) -> dict[str, Object]:
    """Return the same with the pods that only run a command: for `helm test`, and for migrations."""
    commands = [o for o in objects if o["kind"] == "Pod"]
    commands += [o["spec"]["template"] for o in objects if o["kind"] == "Job"]
    return pods(objects) | {pod["spec"]["containers"][0]["args"][0]: pod for pod in commands}


def expected_message(file: Path) -> str:
    """Return the message that a file of refused values must give: its comment."""
    text = file.read_text(encoding="utf-8")
    return " ".join(re.findall(r"^# ?(.*)$", text, re.MULTILINE)).strip()
