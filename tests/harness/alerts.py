"""Run the alerts of deploy/alerts.yaml with Prometheus' own promtool.

Owns: `run_rules`, and the checks that turn two scrapes into series that continue for ten minutes as between the two:
counters rise at the same rate, silence grows.
Limits: without promtool `Unavailable` is raised; CI must have promtool.
"""

import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deploy.monitoring.alerts import ALERTS
from engine.metrics import REGISTRY
from tests.harness.services import Unavailable

RULES = Path(__file__).resolve().parent.parent.parent / "deploy" / "alerts.yaml"
STEP_SECONDS = 15
_STEPS = 40
_SOURCE = 'instance="one:9100",job="meterport"'


def check_fire(names: set[str], first: str, second: str, seconds: float, others: str = "") -> None:
    """Check that exactly these alerts fire after ten minutes.

    Args: seconds: the time between the two scrapes. others: a regular expression of alerts that may fire, too.
    Raises: Unavailable: there is no promtool. AssertionError: with the output of promtool.
    """
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)]
    test = {
        "interval": f"{STEP_SECONDS}s",
        "input_series": list(_series(first, second, seconds)),
        "promql_expr_test": [
            {
                "expr": f'count by (alertname) (ALERTS{{alertstate="firing",alertname!~"{others}"}}) >= bool 1',
                "eval_time": f"{_STEPS * STEP_SECONDS}s",
                "exp_samples": expected,
            }
        ],
    }
    run_rules([test])


def check_fires(name: str, first: str, second: str, seconds: float) -> None:
    """Check that this alert fires after ten minutes, whatever the others do. Arguments: see `check_fire`."""
    check_fire({name}, first, second, seconds, others="|".join(alert.name for alert in ALERTS if alert.name != name))


def scrape() -> str:
    """Return the metrics of this process, as it would show them to Prometheus."""
    return generate_latest(REGISTRY).decode()


def run_rules(tests: Sequence[Mapping[str, Any]]) -> None:
    """Run tests of the rules, in the form of promtool. Raises: Unavailable: there is no promtool. AssertionError."""
    if shutil.which("promtool") is None:
        raise Unavailable("no promtool (Debian: package prometheus) on this machine")
    document = {"rule_files": [str(RULES)], "evaluation_interval": f"{STEP_SECONDS}s", "tests": tests}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "test.yaml")
        path.write_text(json.dumps(document))  # JSON is YAML
        run = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _series(first: str, second: str, seconds: float) -> Iterator[dict[str, str]]:
    earlier = dict(_samples(first))
    for name, value in _samples(second):
        per_second = (value - earlier.get(name, 0)) / seconds
        if "_silent_seconds{" in name:  # grows only if no answer came between the two scrapes
            per_second = 1 if value >= seconds else 0
        yield {"series": name, "values": _values(value, per_second * STEP_SECONDS)}
    yield {"series": f"up{{{_SOURCE}}}", "values": f"1+0x{_STEPS}"}


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join([*(f'{name}="{value}"' for name, value in sorted(sample.labels.items())), _SOURCE])
            yield f"{sample.name}{{{labels}}}", sample.value


def _values(value: float, step: float) -> str:
    if math.isnan(value):
        return " ".join(["NaN"] * (_STEPS + 1))
    grows = step if math.isfinite(step) else 0
    return f"{value:f}{grows:+f}x{_STEPS}"
