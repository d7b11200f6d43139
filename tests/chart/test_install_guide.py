"""The commands and values of docs/operations.md "In Kubernetes", and those of the README, are what Helm takes."""

import base64
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from engine import __version__
from tests.chart.image import images as images_of_dockerfile
from tests.chart.mounting import Mounted
from tests.chart.rendering import Answer, helm, one, parsed, pods
from tests.chart.schema import CHART
from tests.documents.pages import ROOT
from tests.documents.shown import block, blocks
from tests.harness.command import meterport
from tests.harness.ports import free_ports

README = (ROOT / "README.md").read_text(encoding="utf-8")
REGISTRY = "registry.example.com"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder as the reader has it: the chart, and values.yaml with what the page says."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "chart").symlink_to(CHART)
    (tmp_path / "values.yaml").write_text(block("# values.yaml").text)
    return tmp_path


def rendering(command: Sequence[str], folder: Path) -> Answer:
    """Run a `helm upgrade` without a cluster: as `helm template`, which has the same arguments."""
    assert command[:2] == ["helm", "upgrade"]
    return helm(4, "template", *(part for part in command[2:] if part != "--install"), cwd=folder)


def readme_commands() -> list[list[str]]:
    text = README.partition("\n## Deploy\n")[2].partition("\n## ")[0].replace("\\\n", " ")
    return [
        shlex.split(line) for line in re.findall(r"^    (\S.*)$", text.replace("$REGISTRY", REGISTRY), re.MULTILINE)
    ]


def secret_keys(command: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name and the keys of the Secret that `kubectl create secret generic` makes."""
    at = command.index("generic")
    literals = [part.partition("=")[2] for part in command[at + 2 :] if part.startswith("--from-literal=")]
    return command[at + 1], [literal.partition("=")[0] for literal in literals]


def test_the_release_of_the_page_is_rendered_and_uses_the_secret_that_is_made(folder: Path) -> None:
    build, _, secret, install = block("docker build").commands()
    name, keys = secret_keys(secret)

    answer = rendering(install, folder)

    assert answer.succeeded, answer.complaints
    objects = parsed(answer.output)
    assert len(pods(objects)) > 1
    used = yaml.safe_load((folder / "values.yaml").read_text())["secrets"].values()
    assert sorted(each["key"] for each in used if each["name"] == name) == sorted(keys)
    assert f"{REGISTRY}/meterport:{__version__}" in {build[build.index("-t") + 1]} & set(images(answer))


def test_the_release_of_the_examples_is_rendered_and_uses_the_secret_that_is_made(folder: Path) -> None:
    (folder / "deploy" / "examples").symlink_to(CHART.parent / "examples")
    secret, apply, install = block("kubectl -n usage create secret").commands()
    name, keys = secret_keys(secret)

    answer = rendering(install, folder)

    assert answer.succeeded, answer.complaints
    assert images(answer) == [f"{REGISTRY}/meterport:{__version__}"]
    assert (name, keys) == ("clickhouse-meterport", ["password"])
    assert 'name: "clickhouse-meterport"' in answer.output
    assert all((folder / apply[at + 1]).is_file() for at, part in enumerate(apply) if part == "-f")


def test_the_values_of_the_page_name_the_user_whose_secret_they_use(folder: Path) -> None:
    """Strimzi names the Secret after the user."""
    values = yaml.safe_load((folder / "values.yaml").read_text())

    assert values["config"]["kafka"]["sasl_username"] == values["secrets"]["kafka.sasl_password"]["name"]


def test_a_command_in_a_pod_finds_the_settings_and_asks_this_pod(folder: Path, tmp_path: Path) -> None:
    release = rendering(block("docker build").commands()[-1], folder)
    objects = parsed(release.output)
    pod = pods(objects)["api"]
    mounted = Mounted(objects, pod, tmp_path / "pod")
    [port] = free_ports(1)
    variables = mounted.environment | {"METERPORT_SERVER__PORT": str(port)}

    for command in block("kubectl -n usage exec").commands():
        at = command.index("--")
        program = images_of_dockerfile()["meterport"].entrypoint
        started, arguments = command[at + 1 :][: len(program)], command[at + 1 + len(program) :]

        assert command[: at + 1] == ["kubectl", "-n", "usage", "exec", "deployment/meterport-api", "--"]
        assert one(objects, "Deployment", "-api")["metadata"]["name"] == "meterport-api"
        assert started == program
        assert arguments[-2:] == pod["spec"]["containers"][0]["args"][1:]
        answer = meterport(*arguments[:-1], str(mounted.configuration), variables=variables)
        assert answer.stderr.startswith(f"meterport: no answer from http://127.0.0.1:{port}: ")


def test_upgrading_takes_the_same_arguments(folder: Path) -> None:
    first, *others = block("helm upgrade").commands()

    assert rendering(first, folder).succeeded
    for command in [*others, *block("helm test").commands()]:
        asked = helm(4, *command[1:], "--help")
        assert asked.succeeded, asked.complaints


def test_the_release_of_the_readme_is_rendered_and_uses_the_secret_that_is_made(folder: Path) -> None:
    build, secret, install = readme_commands()
    name, keys = secret_keys(secret)

    answer = rendering(install, folder)

    assert answer.succeeded, answer.complaints
    assert one(parsed(answer.output), "StatefulSet")
    assert images(answer) == [build[build.index("-t") + 1]]
    assert f"secrets.api_key.name={name},secrets.api_key.key={keys[0]}" in install


def images(answer: Answer) -> list[str]:
    return sorted(set(re.findall(r'image: "?([^"\n]+)"?', answer.output)))


def test_the_keys_that_openssl_makes_are_taken() -> None:
    """The token keys are a JSON list in one literal, whose quotes the shell leaves in place."""
    [text] = [each.text for each in blocks() if each.text.startswith("docker build")]
    literal = re.search(r'token-keys="(.*?)"\n', text)
    assert literal
    made = literal[1].replace('\\"', '"').replace("$(openssl rand -base64 32)", base64.b64encode(bytes(32)).decode())

    assert [len(base64.b64decode(key)) for key in json.loads(made)] == [32]
