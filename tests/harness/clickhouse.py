"""ClickHouse over HTTP for tests: chDB behind our HTTP front, which tests can start, kill, stop and make misbehave.

Owns: where the tests' ClickHouse server comes from. `choose_clickhouse` takes the first of these that answers
    METERPORT_TEST_CLICKHOUSE (a URL) > docker (testcontainers) > tests/harness/clickhouse_front.py on its own port
and reports which one. `ClickHouse` is the third of these, and the only one that a test can kill or make misbehave: such
a test starts its own.
Limits: one node, no TLS, one user, whose rights a test can change. tests/harness/clickhouse_statements.py lists how the
front differs from a server.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from engine.config.loading import load_settings
from engine.config.settings import Settings
from tests.harness import preloaded
from tests.harness.clickhouse_faults import FaultKind
from tests.harness.killable import Killable
from tests.harness.ports import LOOPBACK, free_ports
from tests.harness.services import Unavailable, need_docker

START_SECONDS = 60
IMAGE = f"clickhouse/clickhouse-server:{'.'.join(version('chdb-core').split('.')[:2])}"
USER = "meterport"


class Kind(StrEnum):
    GIVEN = "given"
    DOCKER = "docker"
    FRONT = "front"


@dataclass(frozen=True, slots=True)
class ClickHouseServer:
    """A running ClickHouse server. `label` tells people where it comes from."""

    kind: Kind
    url: str
    label: str


class ClickHouse(Killable):
    """One data directory and one address. When its process ends, another one can serve them."""

    def __init__(self, directory: Path, host: str = LOOPBACK) -> None:
        """Prepare the start. No other server uses `directory`, which holds the data and the log.

        Args: host: the address where it listens.
        """
        super().__init__(directory, "front.log")
        self._host = host
        [self._port] = free_ports(1)
        self._control = ""
        self._config: Path | None = None

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    def start(self) -> None:
        """Start a process on the data of the directory, the first time or again. Return when it answers."""
        assert not self.running, "the front is already running"
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.harness.clickhouse_front", "--port", str(self._port)]
        command += ["--host", self._host]
        command += ["--config", str(self._config)] if self._config else []
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = preloaded.start(
                [*command, "--path", str(self.directory / "store")], env=os.environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while self.running and time.monotonic() < deadline:
            found = re.search(rb"ready port=\d+ control=(\d+)\n", self.log.read_bytes()[begin:])
            if found:
                self._control = f"http://127.0.0.1:{int(found[1])}/"
                return
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the ClickHouse front does not answer:\n{self.tail()}")

    def restrict(self, *grants: str, profile: str = "") -> None:
        """Start again with a user that has only these rights (GRANT statements without TO). None: those of the front.

        Args: profile: XML of the user's settings and their constraints.
        """
        self.kill()
        self._config = self._configuration(grants, profile) if grants else None
        self.start()

    def _configuration(self, grants: Sequence[str], profile: str) -> Path:
        users, config = (self.directory.resolve() / name for name in ("users.xml", "config.xml"))
        rights = "".join(f"<query>{grant}</query>" for grant in grants)
        user = "<password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>"
        users.write_text(
            f"<clickhouse><profiles><default>{profile}</default></profiles><quotas><default/></quotas>"
            f"<users><default>{user}<grants>{rights}</grants></default></users></clickhouse>"
        )
        config.write_text(
            f"<clickhouse><user_directories><users_xml><path>{users}</path></users_xml></user_directories></clickhouse>"
        )
        return config

    def misbehave(
        self,
        kind: FaultKind,
        *,
        seconds: float | None = None,
        statements: int | None = None,
        inserts_only: bool = False,
        probability: float = 1.0,
        code: int = 241,
        seed: int = 0,
    ) -> None:
        """Arm a fault (see tests/harness/clickhouse_faults.py). Several may be armed at the same time."""
        fault = {"kind": kind, "seconds": seconds, "statements": statements, "inserts_only": inserts_only}
        fault |= {"probability": probability, "code": code, "seed": seed}
        httpx.post(self._control, json=fault).raise_for_status()

    def behave(self) -> None:
        """Disarm all faults: stalled statements go on, and the port is open."""
        httpx.delete(self._control).raise_for_status()

    def struck(self, kind: FaultKind) -> int:
        """Return how many statements the faults of a kind have hit since the start."""
        return int(httpx.get(self._control).raise_for_status().json().get(kind, 0))


def server_settings(url: str, data_dir: Path, **store: object) -> Settings:
    """Return the settings of a process whose store is a ClickHouse server."""
    overrides = {
        "data_dir": data_dir,
        "store": {"url": url, **store},
        "portal": {"token_keys": ["0123456789abcdef0123"]},
    }
    return load_settings(overrides=overrides)


@contextmanager
def choose_clickhouse(directory: Path) -> Iterator[ClickHouseServer]:
    """Yield the first ClickHouse server that this machine has, until the context ends. `directory` is for its data.

    Raises: AssertionError: a server was found but does not answer.
    """
    with ExitStack() as ends:
        for find in (_given, _docker):
            try:
                found = find(ends)
            except Unavailable:
                continue
            break
        else:
            found = _front(directory, ends)
        yield found


def _given(ends: ExitStack) -> ClickHouseServer:  # noqa: ARG001 - both are called with the same argument
    url = os.environ.get("METERPORT_TEST_CLICKHOUSE")
    if not url:
        raise Unavailable("METERPORT_TEST_CLICKHOUSE is not set")
    _wait_until_ready(url, lambda: "METERPORT_TEST_CLICKHOUSE")
    return ClickHouseServer(Kind.GIVEN, url, f"METERPORT_TEST_CLICKHOUSE, {httpx.URL(url).netloc.decode()}")


def _docker(ends: ExitStack) -> ClickHouseServer:
    need_docker()
    try:
        from docker.errors import DockerException  # noqa: PLC0415 - optional, and slow to import
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    except ImportError:
        raise Unavailable("docker: testcontainers is not installed") from None
    try:
        container = DockerContainer(IMAGE).with_envs(CLICKHOUSE_USER=USER, CLICKHOUSE_PASSWORD=USER)
        [port] = free_ports(1)
        ends.callback(container.stop)
        container.with_bind_ports(8123, port).start()
    except (DockerException, OSError) as error:
        raise Unavailable(f"docker: {error}") from error
    url = f"http://{USER}:{USER}@{container.get_container_host_ip()}:{port}"
    _wait_until_ready(url, lambda: container.get_wrapped_container().logs().decode(errors="replace")[-4000:])
    return ClickHouseServer(Kind.DOCKER, url, f"docker, {IMAGE}")


def _front(directory: Path, ends: ExitStack) -> ClickHouseServer:
    served = ClickHouse(directory)
    ends.callback(served.terminate)
    served.start()
    return ClickHouseServer(Kind.FRONT, served.url, f"chDB {version('chdb-core')} behind the tests' HTTP front")


def _wait_until_ready(url: str, tail: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/ping", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"ClickHouse does not answer after {START_SECONDS} s:\n{tail()}")


@pytest.fixture(scope="session")
def clickhouse_server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ClickHouseServer]:
    """Yield one ClickHouse server for the session, and print which one it is. Each test has its own database."""
    with choose_clickhouse(tmp_path_factory.mktemp("clickhouse")) as server:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            sys.stderr.write(f"\nclickhouse: {server.label}\n")
        yield server
