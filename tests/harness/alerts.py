"""Check which alerts of deploy/alerts.yaml fire if the trend between two scrapes continues for ten minutes.

Owns: turning two scrapes into series that continue as between the two: counters rise at the same rate, silence grows.
Prometheus' own promtool evaluates the rules.
Limits: without promtool `Unavailable` is raised; CI must have promtool.
"""

import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.harness.services import Unavailable

RULES = Path(__file__).resolve().parent.parent.parent / "deploy" / "alerts.yaml"
_STEP_SECONDS = 15
_STEPS = 40
_SOURCE = 'instance="one:9100",job="meterport"'


def check_fire(names: set[str], first: str, second: str, seconds: float, others: str = "") -> None:
    """Check that exactly these alerts fire after ten minutes.

    Args: seconds: the time between the two scrapes. others: a regular expression of alerts that may fire, too.
    Raises: Unavailable: there is no promtool. AssertionError: with the output of promtool.
    """
    if shutil.which("promtool") is None:
        raise Unavailable("no promtool (Debian: package prometheus) on this machine")
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)]
    test = {
        "interval": f"{_STEP_SECONDS}s",
        "input_series": list(_series(first, second, seconds)),
        "promql_expr_test": [
            {
                "expr": f'count by (alertname) (ALERTS{{alertstate="firing",alertname!~"{others}"}}) >= bool 1',
                "eval_time": f"{_STEPS * _STEP_SECONDS}s",
                "exp_samples": expected,
            }
        ],
    }
    document = {"rule_files": [str(RULES)], "evaluation_interval": f"{_STEP_SECONDS}s", "tests": [test]}
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
        yield {"series": name, "values": _values(value, per_second * _STEP_SECONDS)}
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
