"""Mode distributed in the cluster, with a broker and a ClickHouse outside of its pods, and what is compared at the end.

Owns: `Distributed`: the services on the node's address, the release, the load, and the comparison of what is stored and
answered with the plain-Python fold of the chaos suite.
"""

from pathlib import Path
from typing import Any

import clickhouse_connect

from tests.chaos import check
from tests.chaos.recovery import wait_until
from tests.chaos.topic import Topic
from tests.cluster.control_plane import NODE_ADDRESS, ControlPlane
from tests.cluster.embedded import KEY
from tests.cluster.load import Load
from tests.cluster.release import Release
from tests.harness.broker import Broker
from tests.harness.clickhouse import ClickHouse
from tests.harness.crash import METERS
from tests.harness.translation import definition_body

NAMESPACE = "distributed"
HEADERS = {"Authorization": f"Bearer {KEY}"}
RATE = 1000  # events a second
_DATABASE = "meterport"
_TOPIC, _GROUP, _PARTITIONS = "events", "meterport", 12
_METERS = METERS[:2]
_SECONDS = 300
_BROKER = {"log.retention.ms": str(30 * 86_400_000)}  # less than the duplicate window, as `doctor` wants it


class Distributed:
    """A release in mode distributed, what it needs, and the load on it."""

    def __init__(self, plane: ControlPlane, release: Release, directory: Path) -> None:
        self.plane = plane
        self.release = release
        self.broker = Broker(directory / "kafka", _BROKER, host=NODE_ADDRESS)
        self.store = ClickHouse(directory / "clickhouse", host=NODE_ADDRESS)

    def start(self) -> None:
        """Start the services, and make the topic and the Secret."""
        self.broker.start()
        self.store.start()
        self.topic = Topic(self.broker.bootstrap, _TOPIC, _GROUP, _PARTITIONS)
        self.plane.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "meterport", "namespace": NAMESPACE},
                "stringData": {"api-key": KEY, "token-keys": '["a key of the cluster test"]'},
            }
        )

    def values(self, tag: str) -> dict[str, Any]:
        """Return the chart's values for an image of this tag."""
        return {
            "image": {"registry": "localhost", "tag": tag},
            "config": {
                "store": {"url": self.store.url, "database": _DATABASE, "timeout_seconds": 20},
                "kafka": {
                    "brokers": self.broker.bootstrap,
                    "topic": _TOPIC,
                    "group": _GROUP,
                    "partitions": _PARTITIONS,
                },
                "ingest": {"batch_rows": 20_000},
                "meters": [definition_body(meter) for meter in _METERS],
            },
            "secrets": {
                "api_key": {"name": "meterport", "key": "api-key"},
                "portal.token_keys": {"name": "meterport", "key": "token-keys"},
            },
            **{component: {"resources": {"requests": {"cpu": "100m"}}} for component in ("api", "ingest")},
        }

    def load(self) -> Load:
        """Return a load on the API, not yet started."""
        return Load(self.release.url(), HEADERS, _METERS[0].slug, RATE)

    def compare(self, load: Load) -> int:
        """Wait until everything is stored, and compare it. Return how many events there were.

        Raises: AssertionError: an event is lost or doubled, or an answer is not that of the fold.
        """
        sent = len(load.numbers)
        wait_until(self.topic.is_drained, _SECONDS, "not everything was stored", self.topic.stored)
        with clickhouse_connect.get_client(
            dsn=self.store.url, database=_DATABASE, autogenerate_session_id=False
        ) as client:
            check.check_tables(client, sent)
            check.check_letters(client, {})
        check.check_meters(self.release.url(), load.fold, _METERS, HEADERS)
        return sent

    def close(self) -> None:
        self.store.kill()
        self.broker.kill()
