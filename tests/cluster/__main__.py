"""`make cluster`: a real Kubernetes on this machine, and Meterport in it by the chart.

It prints a line for each step, with the seconds since the start. The first run builds Kubernetes and the images, which
takes many minutes; later runs find them in .cache. This process prepares what needs the network, and
tests/cluster/inside.py does everything else, in namespaces of its own.
Exit status: 0: everything was seen. 1: something failed; the logs and the data are then kept. 3: this machine lacks
something, which one line names.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from engine import __version__
from tests.cluster import binaries
from tests.cluster.charts import Guard
from tests.cluster.isolation import run_isolated
from tests.cluster.needs import Part, check_machine
from tests.cluster.progress import reporter
from tests.harness.kafka_jars import fetch_jars
from tests.harness.preloaded import ROOT
from tests.harness.services import Unavailable
from tests.image.build import CACHE, archived

_MISSING = 3


def main(
    chart: Annotated[Path, typer.Option(help="The chart that is installed.")] = ROOT / "deploy" / "chart",
    part: Annotated[Part, typer.Option(help="What is shown on the cluster after the first pod.")] = Part.ALL,
    without: Annotated[
        Guard,
        typer.Option(help="A guard that is left out. drain: the run must fail. order: ingest is updated by a surge."),
    ] = Guard.NONE,
    upgrades: Annotated[int, typer.Option(help="How often the release is upgraded under load.")] = 5,
    kills: Annotated[int, typer.Option(help="How many pods are killed under load.")] = 20,
) -> None:
    """Run the cluster and everything that is shown on it."""
    began = time.monotonic()
    report = reporter(began)
    try:
        check_machine()
        programs = binaries.built(report)
        archives = archived(CACHE, __version__)
        fetch_jars()
    except Unavailable as reason:
        typer.echo(f"make cluster: {reason}", err=True)
        sys.exit(_MISSING)
    directory = Path(tempfile.mkdtemp(prefix="meterport-cluster-"))
    report(f"data and logs in {directory}")
    given = {
        "began": began,
        "directory": str(directory),
        "part": part,
        "without": without,
        "upgrades": upgrades,
        "kills": kills,
        "chart": str(chart.resolve()),
        "programs": {name: str(path) for name, path in programs.items()},
        "archives": {name: str(path) for name, path in archives.items()},
    }
    status = run_isolated("tests.cluster.inside", json.dumps(given))
    if status == 0:
        shutil.rmtree(directory)
    sys.exit(status)


if __name__ == "__main__":
    typer.run(main)
