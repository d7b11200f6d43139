"""The pods of the chart fit to the images of deploy/Dockerfile."""

import subprocess
from pathlib import Path

import pytest
import yaml

from engine import __version__
from tests.chart.image import images
from tests.chart.rendering import LEAST, LEAST_EMBEDDED, Object, all_pods, ci_files, rendered
from tests.chart.schema import CHART
from tests.chart.tools import HADOLINT, ROOT
from tests.documents.pages import OPERATIONS

README = ROOT / "README.md"

each_mode = pytest.mark.parametrize(
    ("values", "target"),
    [(LEAST, "meterport"), (LEAST_EMBEDDED, "meterport-embedded")],
    ids=["distributed", "embedded"],
)


def writable(pod: Object) -> set[str]:
    """Return the directories in which a pod's process can write."""
    (container,) = pod["spec"]["containers"]
    return {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}


@each_mode
def test_each_mode_takes_its_target_in_the_release_of_the_program(values: Path, target: str) -> None:
    assert target in images()
    for pod in all_pods(rendered(values)).values():
        assert pod["spec"]["containers"][0]["image"] == f"{target}:{__version__}"


@each_mode
def test_a_pod_runs_as_the_user_of_the_image(values: Path, target: str) -> None:
    for pod in all_pods(rendered(values)).values():
        context = pod["spec"]["securityContext"]
        assert images()[target].user == f"{context['runAsUser']}:{context['runAsGroup']}" == "65532:65532"
        assert context["fsGroup"] == context["runAsGroup"]


@ci_files
def test_a_pod_keeps_the_entry_point_of_the_image(values: Path) -> None:
    """Its arguments are those of `meterport`."""
    assert images()["meterport"].entrypoint[-2:] == ["-m", "meterport"]
    for pod in all_pods(rendered(values)).values():
        assert "command" not in pod["spec"]["containers"][0]


@each_mode
def test_a_pod_can_write_only_where_the_image_expects_it(values: Path, target: str) -> None:
    for pod in all_pods(rendered(values)).values():
        assert writable(pod) == {"/tmp", *images()[target].volumes}  # noqa: S108 - of the pod


def test_the_data_directory_of_the_image_is_the_volume() -> None:
    image = images()["meterport-embedded"]

    assert image.volumes == [image.variables["METERPORT_DATA_DIR"]]


@pytest.mark.thorough
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, ROOT / "deploy" / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_chart_says_which_release_it_installs() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"] == __version__
    for page, target in ((README, "meterport-embedded"), (OPERATIONS, "meterport")):
        assert f"--target {target} -t" in page.read_text(encoding="utf-8")
        assert f"/{target}:{__version__} --push ." in page.read_text(encoding="utf-8")
