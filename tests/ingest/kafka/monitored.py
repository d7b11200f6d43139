"""The health of a process on a topic, without the process: tests ask it what is away while they change the brokers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from engine.config.server_settings import ServerSettings
from engine.config.settings import Settings
from engine.errors import LogUnavailable
from engine.health import Health
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from ingest.readiness import Parts, start_monitoring
from ingest.workers import Workers
from tests.harness.topics import Topic


@contextmanager
def monitored(
    topic: Topic, store: Store, settings: Settings, protocol: str = "classic"
) -> Iterator[tuple[Health, KafkaLog]]:
    """Yield the health of a process with all tasks on a topic, and its log."""
    own = settings.model_copy(update={"kafka": topic.settings(protocol), "server": ServerSettings(unready_seconds=2)})
    workers = Workers()
    with (
        closing(KafkaProducer(own.kafka)) as producer,
        closing(KafkaLog(own.kafka, end_query_seconds=0.5)) as log,
    ):
        parts = Parts(own, store, MeterRegistry(store), workers, producer, log, None, serves=True)
        yield start_monitoring(parts), log
        workers.join(10)


def reasons(health: Health, log: KafkaLog) -> list[str]:
    """Read once, as the process would, and return the reasons why it is not ready."""
    with suppress(LogUnavailable):
        log.read(10, 1 << 20, 0.1)
    return [away.reason for away in health.readiness().away]
