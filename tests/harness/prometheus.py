"""A real Prometheus that scrapes one process every second and evaluates expressions on what it found.

Limits: Debian's package prometheus must be installed; CI must have it.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.harness.ports import free_ports
from tests.harness.services import Unavailable


class Prometheus:
    """A server of its own, with its data in a directory. It ends with its context.

    Raises: Unavailable: this machine has no program of that name.
    """

    def __init__(self, directory: Path, targets: Sequence[str], rules: Sequence[Path] = ()) -> None:
        """Args: targets: the URLs of the processes whose /metrics are scraped. rules: files of alert rules."""
        program = shutil.which("prometheus")
        if program is None:
            raise Unavailable("no prometheus (Debian: package prometheus) on this machine")
        scraped = {
            "job_name": "meterport",
            "static_configs": [{"targets": [urlsplit(target).netloc for target in targets]}],
        }
        document = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [scraped],
            "rule_files": [str(path) for path in rules],
        }
        config, self._log = directory / "prometheus.yml", directory / "prometheus.log"
        config.write_text(json.dumps(document))  # JSON is YAML
        [port] = free_ports(1)
        options = [f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, *options, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
            )
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()

    def evaluate(self, expression: str) -> list[Any]:
        """Return the series that an expression has now. None are returned before the server answers."""
        try:
            answer = self._client.get("/query", params={"query": expression})
        except httpx.TransportError:
            assert self._process.poll() is None, self._log.read_text()
            return []
        if answer.status_code == 503:  # it is starting
            return []
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def evaluate_range(self, expression: str, start: float, end: float, step: float) -> list[Any]:
        """Return the series that an expression has had. Args: start, end: Unix seconds. step: seconds."""
        parameters: dict[str, str | float] = {"query": expression, "start": start, "end": end, "step": step}
        found: list[Any] = (
            self._client.get("/query_range", params=parameters).raise_for_status().json()["data"]["result"]
        )
        return found

    def rules(self) -> dict[str, str]:
        """Return the health of each alert rule by name; `ok` if it was evaluated."""
        groups = self._client.get("/rules").raise_for_status().json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
