"""The CloudEvents SDKs of Python, JavaScript, Go and Java, unmodified, as producers over HTTP and Kafka.

Each SDK sends all its cases from one process. A case is a subject, and its number is the usage that it must have.
Node, Go, Java and Maven are needed. Tests of what a machine lacks are skipped, except in CI, which must have all.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import httpx
import pytest

from tests.harness.broker import Kafka, Kind
from tests.harness.kafka_jars import fetch_jars
from tests.harness.server import Server
from tests.harness.services import available_or_skip, build_go, install_packages, install_python_packages
from tests.harness.topics import require_real_broker

HERE = Path(__file__).parent
WAIT_SECONDS = 30

PYTHON = {
    "structured": 1,
    "structured bytes": 2,
    "binary": 3,
    "binary typed": 4,
    "binary bytes": 5,
    "Zoë/€ 1%": 6,
    "batch 1": 7,
    "batch 2": 8,
    "old structured": 9,
    "old structured bytes": 10,
    "old binary": 11,
    "old binary typed": 12,
    "old batch": 13,
}
PYTHON_KAFKA = {
    "kafka structured": 21,
    "kafka structured bytes": 22,
    "kafka binary": 23,
    "kafka binary typed": 24,
    "kafka Zoë/€ %20": 25,
    "old kafka structured": 26,
    "old kafka structured typed": 27,
    "old kafka structured bytes": 28,
    "old kafka binary typed": 29,
}
JAVASCRIPT = {
    "emitted": 1,
    "emitted with extensions": 2,
    "emitted structured": 3,
    "binary": 4,
    "structured": 5,
    "structured bytes": 6,
    "batch 1": 7,
    "batch 2": 8,
}
JAVASCRIPT_KAFKA = {
    "kafka structured": 21,
    "kafka structured bytes": 22,
    "kafka binary": 23,
    "kafka binary typed": 24,
    "kafka Zoë/€ %20": 25,
    "kafka binary bytes": 26,
}
GO = {
    "binary": 1,
    "binary bytes": 2,
    "Zoë/€ 1%": 3,
    "structured": 4,
    "structured raw": 5,
    "structured bytes": 6,
    "batch 1": 7,
    "batch 2": 8,
}
JAVA = {
    "structured": 1,
    "structured untyped": 2,
    "structured object": 3,
    "binary": 4,
    "binary untyped": 5,
    "binary with a time": 6,
    "batch 1": 7,
    "batch 2": 8,
}
JAVA_KAFKA = {
    "kafka structured": 21,
    "kafka structured untyped": 22,
    "kafka structured Zoë/€ %20": 23,
    "kafka binary": 24,
    "kafka binary untyped": 25,
    "kafka binary Zoë/€ %20": 26,
}

CASES = {"python": PYTHON, "javascript": JAVASCRIPT, "go": GO, "java": JAVA}
ENCODED = [language for language in CASES if "Zoë/€ 1%" in CASES[language]]  # Java's SDK does not encode
KAFKA_CASES = {"python": PYTHON_KAFKA, "javascript": JAVASCRIPT_KAFKA, "java": JAVA_KAFKA}


def python_command() -> list[str]:
    folder = HERE / "cloudevents" / "python"  # installed separately: OpenMeter's client needs release 1 of the SDK
    packages = install_python_packages(folder / "requirements.lock")
    return ["env", f"PYTHONPATH={packages}", sys.executable, str(folder / "produce.py")]


def javascript_command() -> list[str]:
    install_packages(HERE / "javascript")
    return ["node", str(HERE / "javascript" / "cloudevents.mjs")]


def go_command() -> list[str]:
    return [str(available_or_skip(lambda: build_go(HERE / "cloudevents" / "go")))]


def java_command() -> list[str]:
    jars = available_or_skip(lambda: fetch_jars(HERE / "cloudevents" / "java" / "pom.xml"))
    class_path = os.pathsep.join(map(str, jars))
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", class_path, str(HERE / "cloudevents" / "java" / "Produce.java")]


COMMANDS = {"python": python_command, "javascript": javascript_command, "go": go_command, "java": java_command}
Produce = Callable[[str], dict[str, int]]


@pytest.fixture(scope="module")
def brokers(broker: Kafka) -> list[str]:
    """Return the arguments with which a producer also sends over Kafka, or none if there is only a mock of it.

    Each worker has a topic and a group of its own: workers that share the tests of this file have a server each.
    """
    return [] if broker.kind is Kind.MOCK else [broker.bootstrap, f"cloudevents-sdks-{secrets.token_hex(4)}"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, brokers: list[str]) -> Iterator[Server]:
    """A server without an API key, as in the examples of the SDKs, with a meter for each language."""
    names = ("BROKERS", "TOPIC", "GROUP")
    variables = {
        f"METERPORT_KAFKA__{name}": value for name, value in zip(names, [*brokers, *brokers[1:]], strict=False)
    }
    running = Server(tmp_path_factory.mktemp("sdks"), variables=variables)
    running.start()
    for language in CASES:
        meter = {
            "slug": f"sdk_{language}",
            "eventType": f"{language}-prompt",
            "aggregation": "SUM",
            "valueProperty": "$.tokens",
        }
        assert httpx.post(f"{running.url}/api/v1/meters", json=meter).status_code == 201
    yield running
    assert running.terminate() == 0, running.tail()


@pytest.fixture(scope="module")
def produce(server: Server, brokers: list[str]) -> Produce:
    """Return a function that sends all cases of a language once, and returns the statuses that its program saw."""

    @cache
    def sent(language: str) -> dict[str, int]:
        program = COMMANDS[language]()
        arguments = [str(server.url), *(brokers if language in KAFKA_CASES else [])]
        ended = subprocess.run([*program, *arguments], capture_output=True, check=False, text=True, timeout=120)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        statuses: dict[str, int] = json.loads(ended.stdout)
        return statuses

    return sent


def counted(server: Server, language: str, wanted: Mapping[str, int]) -> dict[str, int]:
    """Wait for the usage of the wanted subjects and return it. If it stays incomplete, show the dead letters."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        answer = httpx.get(f"{server.url}/api/v1/meters/sdk_{language}/query", params={"groupBy": "subject"})
        usage = {row["subject"]: row["value"] for row in answer.json()["data"] if row["subject"] in wanted}
        if usage == wanted:
            return usage
        if time.monotonic() > deadline:
            letters = httpx.get(f"{server.url}/api/v1/dead-letters").json()
            raise AssertionError((usage, [(letter["reason"], letter["value"][:200]) for letter in letters]))
        time.sleep(0.1)


@pytest.mark.parametrize("language", CASES)
def test_events_sent_over_http_are_usage(server: Server, produce: Produce, language: str) -> None:
    """C1, C4: structured, binary and batched mode, with and without a data type, data as bytes, extensions."""
    statuses = produce(language)

    assert set(statuses.values()) == {204}, statuses
    counted(server, language, CASES[language])


@pytest.mark.parametrize("language", KAFKA_CASES)
def test_records_sent_to_kafka_are_usage(server: Server, produce: Produce, broker: Kafka, language: str) -> None:
    """C2, C3, C4: structured and binary mode, with and without a data type, data as bytes, extensions."""
    require_real_broker(broker)
    produce(language)

    counted(server, language, KAFKA_CASES[language])


@pytest.mark.parametrize("language", ENCODED)
def test_a_subject_sent_in_percent_encoding_is_itself_in_the_portal(
    server: Server, produce: Produce, language: str
) -> None:
    """C1: binary mode over HTTP uses percent-encoding."""
    produce(language)

    assert in_the_portal(server, language, "Zoë/€ 1%", CASES[language]) == CASES[language]["Zoë/€ 1%"]


@pytest.mark.parametrize("language", KAFKA_CASES)
def test_a_subject_sent_to_kafka_is_itself_in_the_portal(
    server: Server, produce: Produce, broker: Kafka, language: str
) -> None:
    """C1: binary mode over Kafka does not encode, so a percent sign stands for itself."""
    require_real_broker(broker)
    produce(language)
    subject = next(subject for subject in KAFKA_CASES[language] if "%20" in subject and "structured" not in subject)

    assert in_the_portal(server, language, subject, KAFKA_CASES[language]) == KAFKA_CASES[language][subject]


def in_the_portal(server: Server, language: str, subject: str, cases: Mapping[str, int]) -> int:
    """Wait for the usage that the holder of a subject's token sees, and return it."""
    counted(server, language, {subject: cases[subject]})
    token = httpx.post(f"{server.url}/api/v1/portal/tokens", json={"subject": subject}).json()["token"]
    url = f"{server.url}/api/v1/portal/meters/sdk_{language}/query"
    [row] = httpx.get(url, headers={"Authorization": f"Bearer {token}"}).json()["data"]
    assert row["subject"] == subject
    return int(row["value"])
