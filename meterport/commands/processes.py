"""The commands that run until they are stopped: `serve`, `api` and `ingest`."""

from typing import Annotated

import typer

from engine.config.settings import Settings
from engine.errors import ConfigurationError
from meterport import running
from meterport.configuration import settings_of
from meterport.options import Config, DataDir

Brokers = Annotated[str | None, typer.Option(help="Kafka brokers, host:port,host:port. Default: none, SQLite.")]
Topic = Annotated[str | None, typer.Option(help="Topic of events. Default: om_default_events.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="Port; 0 takes a free one. Default: 8888.")]
Group = Annotated[str | None, typer.Option(help="Consumer group. Default: meterport.")]


def serve(
    config: Config = None,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    kafka_brokers: Brokers = None,
    kafka_topic: Topic = None,
    kafka_group: Group = None,
) -> None:
    """Serve the API and meter what comes in, in this one process.

    \b
    Events over HTTP go to an event log in the data directory; with --kafka-brokers
    to a Kafka topic, and whatever producers send there is metered too.
    """
    settings = settings_of(
        config,
        data_dir=data_dir,
        server__host=host,
        server__port=port,
        kafka__brokers=kafka_brokers,
        kafka__topic=kafka_topic,
        kafka__group=kafka_group,
    )
    running.run(settings, running.serve)


def api(
    config: Config = None,
    host: Host = None,
    port: Port = None,
    kafka_brokers: Brokers = None,
    kafka_topic: Topic = None,
) -> None:
    """Serve the API alone: events go to Kafka, answers come from a ClickHouse server.

    Any number of these processes run beside each other; `meterport ingest` does the metering.
    """
    settings = settings_of(
        config, server__host=host, server__port=port, kafka__brokers=kafka_brokers, kafka__topic=kafka_topic
    )
    running.run(_distributed(settings, "api"), running.serve, ingests=False)


def ingest(
    config: Config = None, kafka_brokers: Brokers = None, kafka_topic: Topic = None, kafka_group: Group = None
) -> None:
    """Meter what is in the Kafka topic: move events into a ClickHouse server, exactly once.

    Any number of these processes share the topic's partitions; one may come or die at any moment.
    """
    settings = settings_of(
        config, listens=False, kafka__brokers=kafka_brokers, kafka__topic=kafka_topic, kafka__group=kafka_group
    )
    running.run(_distributed(settings, "ingest"), running.ingest, serves=False)


def _distributed(settings: Settings, command: str) -> Settings:
    """Raises: ConfigurationError: what several processes share is not named."""
    for name, value in (("store.url", settings.store.url), ("kafka.brokers", settings.kafka.brokers)):
        if not value:
            raise ConfigurationError(f"{name}: `meterport {command}` needs it; without, `meterport serve` does all")
    return settings
