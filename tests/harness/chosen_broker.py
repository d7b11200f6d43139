"""The Kafka of a run of tests: the first one that the machine has, which all tests share.

Owns: where the tests' Kafka comes from. `choose_broker` takes the first of these that answers
    METERPORT_TEST_KAFKA > docker (testcontainers) > Maven's jars run by `java` > librdkafka's mock cluster
and reports which one. The third is a `Broker`, and the only one that a test can kill: such a test starts its own.
Source: librdkafka CONFIGURATION.md `test.mock.num.brokers`.
"""

import json
import os
import re
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import confluent_kafka
import pytest

from tests.harness.broker import CONFIG, Broker, Kafka, Kind, wait_until_ready
from tests.harness.kafka_jars import POM
from tests.harness.librdkafka import MockCluster
from tests.harness.ports import free_ports
from tests.harness.services import Unavailable, locked, need_docker


@contextmanager
def choose_broker(directory: Path) -> Iterator[Kafka]:
    """Yield the first Kafka that this machine has. `directory` is for its data.

    Processes that choose a broker with the same directory share the one that Maven's jars make: the first starts it,
    and it ends with the last context. Any other ends with its context.
    Raises: AssertionError: a broker was found but does not answer.
    """
    reasons: list[str] = []
    with ExitStack() as ends:
        for find in (_given, _docker, _maven, _mock):
            try:
                found = find(directory, ends)
            except Unavailable as reason:
                reasons.append(str(reason))
            else:
                break
        because = f" ({'; '.join(reasons)})" if found.kind is Kind.MOCK else ""
        yield Kafka(found.kind, found.bootstrap, found.label + because)


def _given(directory: Path, ends: ExitStack) -> Kafka:  # noqa: ARG001 - all four are called with the same arguments
    bootstrap = os.environ.get("METERPORT_TEST_KAFKA")
    if not bootstrap:
        raise Unavailable("METERPORT_TEST_KAFKA is not set")
    wait_until_ready(bootstrap, lambda: True, lambda: f"METERPORT_TEST_KAFKA={bootstrap}")
    return Kafka(Kind.GIVEN, bootstrap, f"METERPORT_TEST_KAFKA, {bootstrap}")


def _docker(directory: Path, ends: ExitStack) -> Kafka:  # noqa: ARG001
    need_docker()
    try:
        from docker.errors import DockerException  # noqa: PLC0415 - optional, and slow to import
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    except ImportError:
        raise Unavailable("docker: testcontainers is not installed") from None
    image = f"apache/kafka:{_pom_version()}"
    try:
        container = DockerContainer(image)
        bootstrap = f"{container.get_docker_client().host()}:{free_ports(1)[0]}"
        container.with_envs(**_variables(bootstrap)).with_bind_ports(9092, int(bootstrap.rpartition(":")[2]))
        ends.callback(container.stop)
        container.start()
    except (DockerException, OSError) as error:
        raise Unavailable(f"docker: {error}") from error
    wrapped = container.get_wrapped_container()
    wait_until_ready(bootstrap, lambda: True, lambda: wrapped.logs().decode(errors="replace")[-4000:])
    return Kafka(Kind.DOCKER, bootstrap, f"docker, {image}")


def _pom_version() -> str:
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>(.+?)</version>", POM.read_text())
    assert found is not None
    return found[1]


def _variables(bootstrap: str) -> dict[str, str]:
    """Return CONFIG as variables of the apache/kafka image, which formats its storage for a fixed quorum of one."""
    own = {
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{bootstrap}",
        "controller.quorum.voters": "1@localhost:9093",
    }
    return {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in {**CONFIG, **own}.items()}


def _maven(directory: Path, ends: ExitStack) -> Kafka:
    directory.mkdir(parents=True, exist_ok=True)
    lock, running, users = directory / "lock", directory / "running.json", directory / "users"
    with locked(lock):
        if not running.exists():
            broker = Broker(Path(tempfile.mkdtemp(prefix="kafka-", dir=directory)))
            broker.start()
            running.write_text(json.dumps([broker.bootstrap, broker.version, broker.leave_running()]))
            users.mkdir()
        bootstrap, version, pid = json.loads(running.read_text())
        user = users / secrets.token_hex(8)
        user.touch()

    def leave() -> None:
        with locked(lock):
            user.unlink()
            if not any(users.iterdir()):
                os.kill(pid, signal.SIGTERM)
                users.rmdir()
                running.unlink()  # the next to choose a broker starts another one

    ends.callback(leave)
    return Kafka(Kind.MAVEN, bootstrap, f"Maven, Apache Kafka {version}")


def _mock(directory: Path, ends: ExitStack) -> Kafka:  # noqa: ARG001
    cluster = MockCluster()
    ends.callback(cluster.close)
    return Kafka(Kind.MOCK, cluster.bootstrap, f"mock cluster of librdkafka {confluent_kafka.libversion()[0]}")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Kafka]:
    """Yield one Kafka for the whole run, and print which one it is. All tests share it: each names its own topics."""
    base = tmp_path_factory.getbasetemp()
    with choose_broker((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kafka") as kafka:
        assert kafka.kind is not Kind.MOCK or not os.environ.get("CI"), f"CI needs a real broker, not a {kafka.label}"
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            sys.stderr.write(f"\nkafka: {kafka.label}\n")
        yield kafka
