"""The commands that run until they get a signal to stop: `serve`, `api` and `ingest`."""

from typing import Annotated

import typer

from engine.config.settings import Settings
from engine.errors import ConfigurationError
from meterport import services
from meterport.configuration import command_settings
from meterport.options import Config, DataDir

Brokers = Annotated[
    str | None, typer.Option(help="Kafka brokers: host:port,host:port. Default: none; events go to SQLite.")
]
RequiredBrokers = Annotated[
    str | None,
    typer.Option(help="Kafka brokers: host:port,host:port. Required here or in another source of settings."),
]
Topic = Annotated[str | None, typer.Option(help="Topic of events. Default: om_default_events.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="Port; 0 selects a free one. Default: 8888.")]
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
    """Serve the API and meter events, all in this one process.

    Events sent over HTTP go to an event log in the data directory. With --kafka-brokers they go to a Kafka topic, and
    events that producers send to the topic are metered too.
    """
    settings = command_settings(
        config,
        data_dir=data_dir,
        server__host=host,
        server__port=port,
        kafka__brokers=kafka_brokers,
        kafka__topic=kafka_topic,
        kafka__group=kafka_group,
    )
    services.run(settings, services.serve)


def api(
    config: Config = None,
    host: Host = None,
    port: Port = None,
    kafka_brokers: RequiredBrokers = None,
    kafka_topic: Topic = None,
) -> None:
    """Serve only the API: it sends events to Kafka and queries a ClickHouse server.

    You can run any number of these processes; `meterport ingest` does the metering.
    """
    settings = command_settings(
        config, server__host=host, server__port=port, kafka__brokers=kafka_brokers, kafka__topic=kafka_topic
    )
    services.run(require_services(settings, "api"), services.serve, ingests=False)


def ingest(
    config: Config = None, kafka_brokers: RequiredBrokers = None, kafka_topic: Topic = None, kafka_group: Group = None
) -> None:
    """Meter the events of the Kafka topic: store them in a ClickHouse server, exactly once.

    Any number of these processes share the partitions of the topic; a process may start, stop or crash at any time.
    """
    settings = command_settings(
        config, listens=False, kafka__brokers=kafka_brokers, kafka__topic=kafka_topic, kafka__group=kafka_group
    )
    services.run(require_services(settings, "ingest"), services.ingest, serves=False)


def require_services(settings: Settings, command: str) -> Settings:
    """Return the settings unchanged. Raises: ConfigurationError: they lack a service that `api` and `ingest` share."""
    for name, value in (("store.url", settings.store.url), ("kafka.brokers", settings.kafka.brokers)):
        if not value:
            raise ConfigurationError(f"{name}: `meterport {command}` needs it; without it, use `meterport serve`")
    return settings
