"""What `make cluster` does inside of its namespaces: it starts the cluster, and runs what is shown on it.

It gets paths as JSON from tests/cluster/__main__.py. Everything that it starts ends with it.
"""

import json
import signal
import sys
import time
import traceback
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from engine import __version__
from tests.cluster import distributed, embedded, first_pod
from tests.cluster.changes import Changes
from tests.cluster.control_plane import ControlPlane
from tests.cluster.distributed import Distributed
from tests.cluster.images import pause_archive
from tests.cluster.isolation import as_first_process
from tests.cluster.needs import Part
from tests.cluster.node import Node, make_network
from tests.cluster.progress import Report, reporter
from tests.cluster.release import Release


def main() -> int:
    given = json.loads(sys.argv[1])
    return as_first_process(lambda: _shown(given, reporter(given["began"])))


def _shown(given: dict[str, Any], report: Report) -> int:
    """Return 0 if everything was seen, and 1 after the error and the ends of all logs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    directory = Path(given["directory"])
    programs = {name: Path(path) for name, path in given["programs"].items()}
    plane = ControlPlane(programs, directory)
    node = Node(plane, directory / "node")
    with ExitStack() as ends:
        ends.callback(plane.end)
        ends.callback(node.end)
        try:
            make_network()
            plane.start()
            report(f"the API server of {plane.version()} is ready")
            node.start(pause_archive(programs["pause"], directory / "pause.tar"))
            report("the node is ready")
            _import_image("meterport", node, given, report)
            first_pod.show(plane, report)
            if given["part"] in {Part.ALL, Part.EMBEDDED}:
                _import_image("meterport-embedded", node, given, report)
                _show_embedded(plane, given, report)
            if given["part"] in {Part.ALL, Part.DISTRIBUTED}:
                _show_distributed(plane, node, given, report)
        except Exception:
            traceback.print_exc()
            report(f"failed; logs in {plane.logs}")
            return 1
    return 0


def _import_image(target: str, node: Node, given: dict[str, Any], report: Report) -> None:
    node.import_image(Path(given["archives"][target]))
    report(f"containerd has the image {target}")


def _show_embedded(plane: ControlPlane, given: dict[str, Any], report: Report) -> None:
    first_pod.make_namespace(plane, embedded.NAMESPACE)
    embedded.prepare(plane, Path(given["directory"], "volume"))
    release = Release(plane, Path(given["helm"]), Path(given["chart"]), "meterport", embedded.NAMESPACE)
    embedded.show(release, report)


def _show_distributed(plane: ControlPlane, node: Node, given: dict[str, Any], report: Report) -> None:
    first_pod.make_namespace(plane, distributed.NAMESPACE)
    release = Release(plane, Path(given["helm"]), Path(given["chart"]), "meterport", distributed.NAMESPACE)
    with closing(Distributed(plane, release, Path(given["directory"]))) as run:
        run.start()
        report("the broker and ClickHouse answer on the node's address")
        began = time.monotonic()
        release.install(run.values(__version__))
        report(f"mode distributed is installed and ready, {time.monotonic() - began:.0f} s after `helm install`")
        release.test()
        report("helm test found nothing wrong")
        load = run.load()
        load.start()
        report(f"sending {distributed.RATE} events a second")
        changes = Changes(run, load, node, __version__, report)
        changes.upgrades(given["upgrades"])
        changes.rollback()
        changes.drain()
        changes.kills(given["kills"])
        changes.store_away()
        changes.broken_upgrade()
        load.finish()
        report("the load has ended; waiting until everything is stored")
        events = run.compare(load)
        report(f"{events:,} events in {load.requests:,} requests: 0 lost, 0 doubled; {len(load.failures)} repeated")


if __name__ == "__main__":
    sys.exit(main())
