"""A real Apache Kafka for tests: one broker in KRaft mode on loopback, which tests can start, stop, kill and end.

Owns: `Broker`, which runs Maven's jars by `java`, the settings of each broker that we start, and `Kafka`, what tests
know of a running one. Which of them a run of tests uses is in tests/harness/chosen_broker.py.
Limits: one node; TLS and SASL only if a test asks for them (`secured`). A topic must be created before it is used. The
mock cluster does not support that request: it creates each topic that a client asks about, always with 4 partitions,
and keeps nothing after its end.
Source: kafka.apache.org/documentation "KRaft", "Broker configs".
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # admin only imports it, says mypy

from tests.harness.kafka_jars import fetch_jars
from tests.harness.killable import Killable
from tests.harness.ports import LOOPBACK, free_ports
from tests.harness.services import Unavailable, file_lock

START_SECONDS = 180  # so long because other tests may run on the machine at the same time
MOCK_PARTITIONS = 4
CLUSTER_ID = "bWV0ZXJwb3J0LXRlc3RzIQ"  # 16 bytes in URL-safe base64, as Kafka requires

# A small heap, one collector thread, the quick compiler: the broker is short-lived and shares its cores with the test.
JAVA = (
    *("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"),
)
ARCHIVE = "classes.jsa"

# The settings of each broker that we start, by Maven or docker. offset.metadata.max.bytes stays at Kafka's own 4096.
CONFIG = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",  # 50 by default, which take seconds to create with the first group
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",  # 45,000 by default: how long a dead process keeps its partitions
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",  # 5,000 by default: how soon a member learns what it must give up
    "group.consumer.assignment.interval.ms": "0",
    "broker.session.timeout.ms": "2000",  # 9000 by default: how long the next process waits after a kill
    "broker.heartbeat.interval.ms": "500",
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    "log.cleaner.dedupe.buffer.size": "4194304",  # 128 MiB by default, allocated at start
}


class Kind(StrEnum):
    GIVEN = "given"
    DOCKER = "docker"
    MAVEN = "maven"
    MOCK = "mock"


@dataclass(frozen=True, slots=True)
class Kafka:
    """A running Kafka. `label` tells people where it comes from."""

    kind: Kind
    bootstrap: str
    label: str

    def create_topic(self, topic: str, partitions: int, options: Mapping[str, str] | None = None) -> int:
        """Create a topic and return how many partitions it has: always 4 if the broker is a mock, without options."""
        if self.kind is not Kind.MOCK:
            return create_topic(self.bootstrap, topic, partitions, options)
        _admin(self.bootstrap).list_topics(topic, timeout=10)
        return MOCK_PARTITIONS


def create_topic(bootstrap: str, topic: str, partitions: int, options: Mapping[str, str] | None = None) -> int:
    """Create a topic. Return `partitions` as soon as the topic can be written to.

    A broker uses the options from the first record on. One that is set later takes effect a moment after the answer.
    Raises: KafkaException: the topic exists, or the broker does not answer in 30 seconds.
    """
    admin = _admin(bootstrap)
    new = NewTopic(topic, partitions, 1, config=dict(options or {}))
    admin.create_topics([new], operation_timeout=30)[topic].result(30)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = admin.list_topics(topic, timeout=10).topics[topic].partitions
        if len(found) == partitions and all(partition.leader >= 0 for partition in found.values()):
            return partitions
        time.sleep(0.02)
    raise AssertionError(f"no leaders for {topic} after 30 s")


def _admin(bootstrap: str) -> AdminClient:
    # Connections are refused until a broker has started: retry them quickly, and print nothing to stderr.
    return AdminClient(
        {"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100}
    )


class Broker(Killable):
    """One data directory and one address. When its process ends, another one can serve them."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, str] | None = None,
        secured: str | None = None,
        host: str = LOOPBACK,
    ) -> None:
        """Prepare the start. No other broker uses `directory`, which holds the data, the configuration and the log.

        Args: config: settings in addition to CONFIG. secured: a security protocol that the broker also speaks, on a
        second port; `config` configures it. host: the address where it listens.
        Raises: Unavailable: there is no java or no mvn, or the jars cannot be fetched.
        """
        super().__init__(directory, "kafka.log")
        self._host = host
        self._jars = fetch_jars()
        self._prepared = _prepared(self._jars)
        protocols = ("PLAINTEXT", "CONTROLLER", *([secured] if secured else ()))
        self._ports = dict(zip(protocols, free_ports(len(protocols)), strict=True))
        self._config = directory / "server.properties"
        directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text(_properties(directory / "data", self._ports, config or {}, host))

    @property
    def bootstrap(self) -> str:
        return self.address("PLAINTEXT")

    def address(self, protocol: str) -> str:
        return f"{self._host}:{self._ports[protocol]}"

    @property
    def version(self) -> str:
        return next(found[1] for jar in self._jars if (found := re.match(r"kafka_2\.13-(.+)\.jar", jar.name)))

    def configure(self, config: Mapping[str, str]) -> None:
        """Change settings. The next start uses them."""
        with self._config.open("a") as file:  # of two lines for one setting, the last one counts
            file.write(_lines(config))

    def start(self) -> None:
        """Start a process on the data of the directory, the first time or again. Return when it answers."""
        assert not self.running, "the broker is already running"
        if not (self.directory / "data").exists():
            shutil.copytree(self._prepared / "data", self.directory / "data")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_java(self._jars, f"-XX:SharedArchiveFile={self._prepared / ARCHIVE}"),
                    *("kafka.Kafka", str(self._config)),
                ],
                cwd=self.directory,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until_ready(self.bootstrap, lambda: self.running, self.tail)
        except BaseException:
            self.kill()
            raise

    def leave_running(self) -> int:
        """Give the process up to whoever gets its id, which this returns. It outlives this object and this process."""
        assert self._process is not None
        self._process.returncode = 0  # so that nobody waits for it or warns of it
        return self._process.pid


def _java(jars: list[Path], *options: str) -> list[str]:
    return [*JAVA, *options, "-cp", os.pathsep.join(map(str, jars))]


def _prepared(jars: list[Path]) -> Path:
    """Return a folder with what each broker would need a second of processor time for, made once for each set of jars.

    It has the storage of an empty cluster, which each broker copies, and the archive of the classes that a broker
    loads. A Java machine that cannot use this archive loads them from the jars.
    Source: JDK "Class Data Sharing"; kafka-storage.sh `format`.
    """
    folder = jars[0].parent.with_suffix(".prepared")
    with file_lock("maven"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as name:
                scratch = Path(name)
                ports = dict(zip(("PLAINTEXT", "CONTROLLER"), free_ports(2), strict=True))
                config, archive = scratch / "server.properties", scratch / "whole" / ARCHIVE
                config.write_text(_properties(scratch / "data", ports, {}))
                _run(_java(jars), "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(config))
                shutil.copytree(scratch / "data", scratch / "whole" / "data")
                _run_once([*_java(jars, f"-XX:ArchiveClassesAtExit={archive}"), "kafka.Kafka", str(config)], ports)
                (scratch / "whole").rename(folder)  # renamed at the end, so that a folder that exists is complete
    return folder


def _run(java: list[str], *command: str) -> None:
    done = subprocess.run([*java, *command], capture_output=True, text=True, check=False, timeout=START_SECONDS)
    if done.returncode:
        raise AssertionError(f"cannot prepare Kafka's storage:\n{done.stdout}{done.stderr}")


def _run_once(command: list[str], ports: Mapping[str, int]) -> None:
    """Run a broker until it has created a topic, and end it."""
    bootstrap = f"127.0.0.1:{ports['PLAINTEXT']}"
    with tempfile.TemporaryFile() as log:

        def tail() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")[-4000:]

        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until_ready(bootstrap, lambda: process.poll() is None, tail)
            create_topic(bootstrap, "first", 1)
            process.terminate()
            process.wait(START_SECONDS)
        finally:
            process.kill()
            process.wait()


def _properties(data: Path, ports: Mapping[str, int], further: Mapping[str, str], host: str = LOOPBACK) -> str:
    listeners = ",".join(f"{protocol}://{host}:{port}" for protocol, port in ports.items())
    protocols = {protocol: protocol for protocol in ports} | {"CONTROLLER": "PLAINTEXT"}
    own = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "controller.quorum.voters": f"1@{host}:{ports['CONTROLLER']}",
        "log.dirs": str(data),
    }
    return _lines({**CONFIG, **own, **further})


def _lines(config: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in config.items())


def wait_until_ready(bootstrap: str, alive: Callable[[], bool], tail: Callable[[], str]) -> None:
    admin = _admin(bootstrap)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if not alive():
            raise AssertionError(f"Kafka died at start:\n{tail()}")
        try:
            admin.list_topics(timeout=1)
        except KafkaException:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"Kafka does not answer after {START_SECONDS} s:\n{tail()}")


def _serve() -> None:
    """Run a broker in a temporary directory until it or this process ends. Print its address to stdout."""
    with tempfile.TemporaryDirectory(prefix="meterport-kafka-") as directory, ExitStack() as ends:
        served = Broker(Path(directory))
        ends.callback(served.terminate)
        served.start()
        sys.stderr.write(f"Apache Kafka {served.version}, data in {directory}; Ctrl-C ends it\n")
        sys.stdout.write(f"{served.bootstrap}\n")
        sys.stdout.flush()
        while served.running:
            time.sleep(0.2)
        sys.exit(f"Kafka ended unexpectedly:\n{served.tail()}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _serve()
    except KeyboardInterrupt:
        sys.exit(0)
    except Unavailable as reason:
        sys.exit(str(reason))
