"""Mode distributed in the cluster, with a broker and a ClickHouse outside of its pods, and what is compared at the end.

Owns: `Distributed`: the services on the node's address, the values of a release, the load, and the comparison of what
is stored and answered with the plain-Python fold of the chaos suite.
"""

from pathlib import Path
from typing import Any

import clickhouse_connect

from tests.chaos import check
from tests.chaos.recovery import wait_until
from tests.chaos.topic import Topic
from tests.cluster import first_event
from tests.cluster.control_plane import NODE_ADDRESS, ControlPlane
from tests.cluster.load import Load
from tests.cluster.namespaces import HEADERS, KEY, TOKEN_KEYS, make_namespace, make_secret
from tests.cluster.release import Release
from tests.harness.broker import Broker
from tests.harness.clickhouse import ClickHouse
from tests.harness.crash import METERS
from tests.harness.translation import definition_body

NAMESPACE = "distributed"
NAME = "meterport"  # of the release, its Secret, its database, its topic and its group
RATE = 1000  # events a second
_PARTITIONS = 12
_METERS = METERS[:2]
_STORE_SECONDS = 300  # for what is in the topic when the load ends
_BROKER = {"log.retention.ms": str(30 * 86_400_000)}  # less than the duplicate window, as `doctor` wants it
_PODS = 4  # two of each component, as by default
# What each of them asks for: the processor time below, and the memory that the chart gives it.
_POD = {"requests.cpu": (100, "m"), "requests.memory": (512, "Mi"), "limits.memory": (1024, "Mi")}


class Distributed:
    """A release in mode distributed, what it needs, and the load on it. `drain_seconds`: None: the chart's default."""

    def __init__(self, plane: ControlPlane, chart: Path, directory: Path, drain_seconds: float | None = None) -> None:
        self.plane = plane
        self.release = Release(plane, chart, NAME, NAMESPACE)
        self.broker = Broker(directory / "kafka", _BROKER, host=NODE_ADDRESS)
        self.store = ClickHouse(directory / "clickhouse", host=NODE_ADDRESS)
        self._server = {} if drain_seconds is None else {"server": {"drain_seconds": drain_seconds}}

    def prepare(self) -> None:
        """Make the namespace and the Secret. The API key in it has a line end, as many files have."""
        make_namespace(self.plane, NAMESPACE)
        make_secret(self.plane, NAMESPACE, NAME, api_key=f"{KEY}\n", token_keys=TOKEN_KEYS)

    def start(self) -> None:
        """Start the services, and make the topic."""
        self.broker.start()
        self.store.start()
        self.topic = Topic(self.broker.bootstrap, NAME, NAME, _PARTITIONS)

    def check_services(self) -> None:
        """Raises: AssertionError: the broker or ClickHouse has ended by itself."""
        for service in (self.broker, self.store):
            assert service.running, f"{type(service).__name__} has ended by itself: {service.tail()}"

    def values(self, tag: str, name: str = NAME) -> dict[str, Any]:
        """Return the chart's values. Args: tag: that of the image. name: of what the release shares with no other."""
        return {
            "image": {"registry": "localhost", "tag": tag},
            "config": {
                **self._server,
                "store": {"url": self.store.url, "database": name, "timeout_seconds": 20},
                "kafka": {
                    "brokers": self.broker.bootstrap,
                    "topic": name,
                    "group": name,
                    "partitions": _PARTITIONS,
                },
                "ingest": {"batch_rows": 20_000},
                "meters": [first_event.METER, *(definition_body(meter) for meter in _METERS)],
            },
            "secrets": {
                "api_key": {"name": name, "key": "api-key"},
                "portal.token_keys": {"name": name, "key": "token-keys"},
            },
            **{component: {"resources": {"requests": {"cpu": "100m"}}} for component in ("api", "ingest")},
        }

    def quota(self, more: int) -> dict[str, str]:
        """Return a quota with room for the pods of the release, and for so many more."""
        pods = _PODS + more
        return {"pods": str(pods), **{name: f"{number * pods}{unit}" for name, (number, unit) in _POD.items()}}

    def load(self) -> Load:
        """Return a load on the API, not yet started."""
        return Load(self.release.url(), HEADERS, _METERS[0].slug, RATE)

    def compare(self, load: Load) -> int:
        """Wait until everything is stored, and compare it. Return how many events there were, with the first one.

        Raises: AssertionError: an event is lost or doubled, or an answer is not that of the fold.
        """
        sent = len(load.numbers) + 1
        wait_until(self.topic.is_drained, "not everything was stored", _STORE_SECONDS, self.topic.stored)
        with clickhouse_connect.get_client(dsn=self.store.url, database=NAME, autogenerate_session_id=False) as client:
            check.check_tables(client, sent)
            check.check_letters(client, {})
        check.check_meters(self.release.url(), load.fold, _METERS, HEADERS)
        return sent

    def close(self) -> None:
        self.store.kill()
        self.broker.kill()
