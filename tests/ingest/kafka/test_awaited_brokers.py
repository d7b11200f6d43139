"""Brokers that are away when a process starts: it is not ready before they have answered once."""

from engine.config.settings import Settings
from engine.store.clickhouse import Store
from tests.harness.broker import Broker
from tests.harness.own_broker import broker, process
from tests.harness.topics import Topic, wait_for
from tests.ingest.kafka.monitored import monitored, reasons

__all__ = ["broker", "process"]  # fixtures of another file


def test_brokers_that_never_answered_make_a_process_unready_at_once(
    process: Broker, topic: Topic, store: Store, settings: Settings
) -> None:
    """They may be the wrong ones, and a rollout would go on to the next process."""
    process.kill()
    with monitored(topic, store, settings) as (health, log):
        readiness = health.readiness()
        assert {away.name for away in readiness.away} == {"kafka-producer", "kafka-consumer"}
        assert "the brokers do not answer" in readiness.reason
        assert readiness.works == ["queries"]

        process.start()

        wait_for(lambda: not reasons(health, log), lambda: health.readiness().reason)
