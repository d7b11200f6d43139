"""How the tests run `meterport doctor`, and read what it prints."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.harness.clickhouse import ClickHouse
from tests.harness.command import meterport
from tests.harness.topics import Topic

KEYS = {"METERPORT_PORTAL__TOKEN_KEYS": '["0123456789abcdef0123"]'}


@dataclass(frozen=True)
class Diagnosis:
    """How a run of the doctor ended. `lines`: by check, what it printed as (status, message)."""

    status: int
    lines: dict[str, tuple[str, str]]
    errors: str

    def faults(self) -> dict[str, str]:
        return self._with("fault")

    def warnings(self) -> dict[str, str]:
        return self._with("warning")

    def skipped(self) -> dict[str, str]:
        return self._with("skipped")

    def _with(self, status: str) -> dict[str, str]:
        return {check: message for check, (found, message) in self.lines.items() if found == status}


def diagnose(variables: Mapping[str, str], *options: str) -> Diagnosis:
    """Run the doctor. It prints the same as text and as JSON."""
    ended = meterport("doctor", *options, variables={**KEYS, **variables})
    matches = [re.fullmatch(r"(ok|warning|fault|skipped) +([^:]+): (.+)", line) for line in ended.stdout.splitlines()]
    assert all(matches), ended.stdout
    return Diagnosis(ended.returncode, {found[2]: (found[1], found[3]) for found in matches if found}, ended.stderr)


def diagnose_store(server: ClickHouse | None, directory: Path, **store: str) -> Diagnosis:
    address = {"url": server.url} if server else {}
    return diagnose(
        {
            "METERPORT_DATA_DIR": str(directory),
            **{f"METERPORT_STORE__{name.upper()}": value for name, value in (address | store).items()},
        }
    )


def diagnose_kafka(topic: Topic | None, directory: Path, *options: str, **kafka: str) -> Diagnosis:
    """Run the doctor on Kafka alone. Args: topic: names brokers, topic and group. kafka: further settings."""
    given = {"brokers": topic.bootstrap, "topic": topic.name, "group": topic.name} if topic else {}
    variables = {f"METERPORT_KAFKA__{name.upper()}": value for name, value in {**given, **kafka}.items()}
    return diagnose({"METERPORT_DATA_DIR": str(directory), **variables}, *options)


def diagnose_as_json(variables: Mapping[str, str], *options: str) -> Diagnosis:
    ended = meterport("doctor", "--format", "json", *options, variables={**KEYS, **variables})
    checks = json.loads(ended.stdout)["checks"]
    lines = {check["check"]: (check["status"], check["message"]) for check in checks}
    return Diagnosis(ended.returncode, lines, ended.stderr)
