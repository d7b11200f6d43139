"""A process that gets a pod's files, variables and arguments answers the pod's probes, and ends in its grace period."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.chart.mounting import SECRET_VALUES, Mounted
from tests.chart.rendering import LEAST, LEAST_EMBEDDED, Object, pods, rendered
from tests.harness.ports import free_ports
from tests.harness.topics import wait_for

EVENT = {"specversion": "1.0", "id": "1", "source": "chart", "type": "prompt", "subject": "acme", "data": {"n": 1}}


NOWHERE = "127.0.0.1:1"  # nothing listens there


class Running:
    """The process of a pod. Its ports are those of the settings."""

    def __init__(self, pod: Object, process: subprocess.Popen[bytes], port: int, telemetry: int) -> None:
        self.pod, self.process, self.port, self._telemetry = pod, process, port, telemetry

    def status(self, probe: str) -> int | None:
        """Return what a probe of the pod is answered, or None if nothing answers."""
        asked = self.pod["spec"]["containers"][0][probe]["httpGet"]
        try:
            return httpx.get(f"http://127.0.0.1:{self._telemetry}{asked['path']}").status_code
        except httpx.TransportError:
            return None

    def end(self) -> int:
        """Return the exit status after SIGTERM. Raises: subprocess.TimeoutExpired: the kubelet would kill it."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=self.pod["spec"]["terminationGracePeriodSeconds"])


@contextmanager
def running(values: Path, command: str, directory: Path, sets: str = "") -> Iterator[Running]:
    """Run the process of a pod with what the pod has, and kill it at the end."""
    port, telemetry = free_ports(2)
    ports = f"config.server.port={port},config.server.telemetry_port={telemetry},config.server.drain_seconds=0"
    objects = rendered(values, sets=ports + sets)
    pod = pods(objects)[command]
    mounted = Mounted(objects, pod, directory)
    arguments = [*mounted.arguments, *(["--data-dir", str(directory)] if command == "serve" else [])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "meterport", *arguments], env=kept | mounted.environment, stdout=log, stderr=log
        )
    try:
        yield Running(pod, process, port, telemetry)
    finally:
        process.kill()
        process.wait()


@pytest.mark.thorough
def test_a_pod_of_mode_embedded_takes_an_event_and_ends(tmp_path: Path) -> None:
    with running(LEAST_EMBEDDED, "serve", tmp_path) as serve:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            wait_for(lambda probe=probe: serve.status(probe) == 200)  # type: ignore[misc]
        key = SECRET_VALUES["api_key"]
        sent = httpx.post(
            f"http://127.0.0.1:{serve.port}/api/v1/events",
            json=EVENT,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents+json"},
        )

        assert sent.status_code == 204
        assert serve.end() == 0


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["api", "ingest"])
def test_a_pod_whose_store_and_brokers_are_away_is_alive_and_not_ready(command: str, tmp_path: Path) -> None:
    """A restart would not help, and no traffic may come."""
    sets = f",config.store.url=http://{NOWHERE},config.kafka.brokers={NOWHERE}"
    with running(LEAST, command, tmp_path, sets) as pod:
        wait_for(lambda: pod.status("livenessProbe") == 200)

        assert pod.status("startupProbe") == 200
        assert pod.status("readinessProbe") == 503
        assert pod.end() == 0
