"""The broker and the store of the chaos suite, which the scenarios use one after another."""

from pathlib import Path

from tests.harness.broker import Broker
from tests.harness.clickhouse import ClickHouse
from tests.harness.crash import METERS

SESSION_SECONDS = 3  # how long a group waits for a dead member
_BROKER = {  # in the protocol of KIP-848 the broker decides how long a silent member stays in the group
    "group.consumer.session.timeout.ms": str(SESSION_SECONDS * 1000),
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
}


class Services:
    """One broker and one store, which the scenarios share.

    `calm`: the short form, with a quarter of the load, two meters and a second between two blocks. Most of the
    processor time of a scenario is that of its blocks, and a fault needs one block to meet.
    """

    def __init__(self, directory: Path, calm: bool = False) -> None:
        self.directory = directory
        self.calm = calm
        self.load = 0.25 if calm else 1.0
        self.interval_seconds = 1.0 if calm else 0.1
        self.most_meters = 2 if calm else len(METERS)
        self.broker = Broker(directory / "kafka", _BROKER)
        self.store = ClickHouse(directory / "clickhouse")

    def start(self) -> None:
        self.broker.start()
        self.store.start()

    def repair(self) -> None:
        """Start what is still killed, continue what is still stopped, and end all faults."""
        for service in (self.broker, self.store):
            if service.running:
                service.continue_()
            else:
                service.start()
        self.store.behave()

    def close(self) -> None:
        self.store.kill()
        self.broker.kill()
