"""Build both images, and run them as Kubernetes does under its restricted policy: `make image`."""

import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx

from engine import __version__
from tests.harness.clickhouse import ClickHouse
from tests.harness.ports import free_ports
from tests.harness.services import Unavailable
from tests.harness.topics import wait_for
from tests.image.build import CACHE, built
from tests.image.container import DATA, Container

KEY = {"Authorization": "Bearer a-key-of-the-image-test-that-is-long"}
EVENT = {"specversion": "1.0", "id": "1", "source": "tests", "type": "call", "subject": "acme"}
# What an attacker in the process would look for, and in the first image also what only the embedded store needs.
NOWHERE = ("bin/sh", "usr/bin/sh", "usr/bin/bash", "usr/bin/dash", "usr/bin/dpkg", "usr/bin/apt", "usr/bin/pip3")
ONLY_EMBEDDED = ("chdb", "chdb_core", "pandas")


def main() -> None:
    """Build, look and run."""
    try:
        with built(CACHE) as roots:
            for target, root in roots.items():
                check_files(target, root)
                check_run(root, ("--version",), f"meterport {__version__}\n")
                serve(target, root)
    except Unavailable as reason:
        sys.exit(f"make image: {reason}")


def check_files(target: str, root: Path) -> None:
    """Print the size of an image, and check what is not in it."""
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"{target}: {size >> 20} MiB", flush=True)  # noqa: T201
    found = [name for name in NOWHERE if (root / name).exists()]
    found += [str(path) for path in (root / "app").glob("pip*")]
    if not target.endswith("-embedded"):
        found += [name for name in ONLY_EMBEDDED if (root / "app" / name).exists()]
    assert found == [], f"{target} contains {found}"


def check_run(root: Path, arguments: tuple[str, ...], expected: str) -> None:
    with Container(root, arguments, {}) as container:
        assert container.wait() == 0, container.said()
        assert container.said() == expected, container.said()


def serve(target: str, root: Path) -> None:
    """Run `serve` on an image: it meters an event, answers, and ends by SIGTERM with status 0."""
    if target.endswith("-embedded"):
        meter_one_event(target, root, {})
        return
    with tempfile.TemporaryDirectory() as directory:
        clickhouse = ClickHouse(Path(directory))
        clickhouse.start()
        try:
            keys = {"METERPORT_PORTAL__TOKEN_KEYS": '["0123456789abcdef0123"]'}
            meter_one_event(target, root, {"METERPORT_STORE__URL": clickhouse.url, **keys})
        finally:
            clickhouse.kill()


def meter_one_event(target: str, root: Path, variables: Mapping[str, str]) -> None:
    [port] = free_ports(1)
    own = {
        "METERPORT_SERVER__PORT": str(port),
        "METERPORT_API_KEY": KEY["Authorization"].removeprefix("Bearer "),
        "METERPORT_METERS": '[{"slug": "calls", "eventType": "call", "aggregation": "COUNT"}]',
    }
    with Container(root, ("serve",), {**own, **variables}) as container:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY, timeout=30) as client:

            def is_ready() -> bool:
                assert container.running, container.said()
                try:
                    return client.get("/readyz").is_success
                except httpx.TransportError:
                    return False

            wait_for(is_ready, container.said)
            media = {"Content-Type": "application/cloudevents+json"}
            client.post("/api/v1/events", json=EVENT, headers=media).raise_for_status()
            usage = "/api/v1/meters/calls/query"
            wait_for(lambda: [row["value"] for row in client.get(usage).json()["data"]] == [1], container.said)
        container.signal(signal.SIGTERM)
        assert container.wait() == 0, container.said()
    print(f"{target}: served as uid 65532 on a read-only root, with data in {DATA}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
