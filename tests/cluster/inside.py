"""What `make cluster` does inside of its namespaces: it starts the cluster, and runs what is shown on it.

It gets paths as JSON from tests/cluster/__main__.py. Everything that it starts ends with it.
"""

import json
import signal
import sys
import traceback
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from engine import __version__
from tests.cluster import applied, embedded, first_event, pods
from tests.cluster.another_release import AnotherRelease
from tests.cluster.changes import Changes
from tests.cluster.charts import Guard, with_surge
from tests.cluster.control_plane import ControlPlane
from tests.cluster.distributed import NAMESPACE, RATE, Distributed
from tests.cluster.images import pause_archive
from tests.cluster.isolation import as_first_process
from tests.cluster.needs import Part
from tests.cluster.node import Node, make_network
from tests.cluster.pauses import Pauses
from tests.cluster.progress import Report, reporter


def main() -> int:
    given = json.loads(sys.argv[1])
    return as_first_process(lambda: _shown(given, reporter(given["began"])))


def _shown(given: dict[str, Any], report: Report) -> int:
    """Return 0 if everything was seen, and 1 after the error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    directory, chart = Path(given["directory"]), Path(given["chart"])
    programs = {name: Path(path) for name, path in given["programs"].items()}
    plane = ControlPlane(programs, directory)
    node = Node(plane, directory / "node")
    part = Part(given["part"])
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
            pods.show_first(plane, report)
            if part in {Part.ALL, Part.OBJECTS}:
                applied.show(plane, chart, report)
            if part in {Part.ALL, Part.EMBEDDED}:
                _import_image("meterport-embedded", node, given, report)
                embedded.show(plane, chart, directory / "volume", report)
            if part in {Part.ALL, Part.RELEASES, Part.LOAD}:
                _show_distributed(plane, node, given, report)
        except Exception:
            traceback.print_exc()
            report(f"failed; logs in {plane.logs}")
            return 1
    return 0


def _import_image(target: str, node: Node, given: dict[str, Any], report: Report) -> None:
    node.import_image(Path(given["archives"][target]))
    report(f"containerd has the image {target}")


def _show_distributed(plane: ControlPlane, node: Node, given: dict[str, Any], report: Report) -> None:
    directory, chart, guard = Path(given["directory"]), Path(given["chart"]), Guard(given["without"])
    own_chart = with_surge(chart, directory) if guard == Guard.ORDER else chart
    with closing(Distributed(plane, own_chart, directory, 0 if guard == Guard.DRAIN else None)) as run:
        run.prepare()
        another = None
        if given["part"] != Part.LOAD:
            another = AnotherRelease(run, chart, directory, report)
            another.install()
        run.start()
        report("the broker and ClickHouse answer on the node's address")
        if another:
            another.wait_until_ready()
        first_event.install(run.release, run.values(__version__), "mode distributed", report)
        run.release.test()
        report("helm test found nothing wrong")
        if another:
            pods.show_variables(plane, NAMESPACE, report)
            another.upgrade()
            another.uninstall()
        if given["part"] != Part.RELEASES:
            _change_under_load(run, node, given, report)


def _change_under_load(run: Distributed, node: Node, given: dict[str, Any], report: Report) -> None:
    load, pauses = run.load(), Pauses(run.topic)
    load.start()
    pauses.start()
    report(f"sending {RATE} events a second")
    changes = Changes(run, load, pauses, node, __version__, report)
    changes.upgrades(given["upgrades"])
    changes.rollback()
    changes.drain()
    changes.small_quota()
    changes.kills(given["kills"])
    changes.store_away()
    changes.broken_upgrade()
    load.finish()
    pauses.finish()
    report("the load has ended; waiting until everything is stored")
    events = run.compare(load)
    report(f"{events:,} events: 0 lost, 0 doubled; {load.failures_so_far()}")


if __name__ == "__main__":
    sys.exit(main())
