"""The composition root: builds store, log, engine, consumer and application from settings, and holds the command line.

It alone sees `engine`, `ingest` and `api` together.
"""

import contextlib
import logging
import secrets
import signal
import socket
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
import typer.main
from pydantic import SecretStr
from starlette.applications import Starlette

from api.app import Services, create_app, create_telemetry_app
from api.server import descriptors
from api.server.server import HttpServer, bound, local_url, uvicorn_config
from engine import __version__, faults, metrics
from engine.config.kafka_settings import KafkaSettings
from engine.config.listing import settings_yaml
from engine.config.loading import load_settings
from engine.config.redaction import fit_to_show, without_userinfo
from engine.config.settings import Settings, is_http_url
from engine.errors import ConfigurationError, Conflict, DataDirectoryInUse, Fatal, InvalidMeter, MeterportError
from engine.health import PROBE_SHARE, Health, Readiness
from engine.logging_setup import configure_logging
from engine.meters.definition import MeterDefinition, configured_definitions
from engine.meters.fill import Filler
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import open_store
from engine.store.embedded import DirectoryLock
from engine.store.memory import fitting_batches
from engine.store.migrations import migrate
from engine.subjects import Subjects
from engine.tokens.portal_tokens import PortalTokens, load_token_keys
from ingest.consumer import Consumer
from ingest.dead_letters import DeadLetterSink
from ingest.event_log import EventLog
from ingest.fill_barrier import Settling
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from ingest.left_behind import store_what_is_left, warn_of_what_is_left
from ingest.readiness import Parts, watched
from ingest.restored import compare_with_store
from ingest.sqlite_log import SqliteLog
from ingest.stored_positions import Positions
from ingest.workers import Workers
from meterport.addresses import is_of_this_machine
from meterport.client import ApiClient
from meterport.commands import api as console
from meterport.commands import dead_letters as dead_letters_console
from meterport.commands.import_ import import_command
from meterport.early_stop import ENDING
from meterport.options import Config, DataDir, require_utf8, use_plain_words
from meterport.terminal import say

_log = logging.getLogger("meterport")
EX_CONFIG = 78
EX_SOFTWARE = 70


class Service:
    """Everything of one process: open from construction on, running between `start` and `stop`.

    `ingests`: it moves the log into the store too, as a process alone must. `serves`: it answers over HTTP.
    """

    def __init__(self, settings: Settings, ingests: bool = True, serves: bool = True) -> None:
        faults.arm(settings.fault)
        descriptors.raise_limit()
        self.settings = settings
        self._closing = contextlib.ExitStack()  # what is open, to be closed in reverse
        self._lock = DirectoryLock(settings.data_dir, settings.trust_data_dir) if _keeps_data(settings) else None
        if self._lock:
            self._closing.callback(self._lock.release)
        self.store = open_store(settings)
        self._closing.callback(self.store.close)
        for name in migrate(self.store, settings):
            _log.info("migration_completed name=%s", name)
        self.store.check_tables()
        self.registry = MeterRegistry(self.store)
        self.tokens = PortalTokens(self.store.apart(), load_token_keys(settings), settings.portal)
        self.subjects = Subjects(self.store)
        self.workers = Workers(on_failure=self._failed)
        self.stopping = False
        self.when_failed: Callable[[], None] = lambda: None
        self._serves = serves
        self._consumer: Consumer | None = None
        self._health: Health | None = None  # once its workers run
        self.log: EventLog | None = None
        self.appender: KafkaProducer | SqliteLog
        self._dead_letter_sink: DeadLetterSink | None = None
        if settings.kafka.brokers:
            self._open_kafka(settings.kafka, ingests)
        else:
            self._open_sqlite(settings)

    def _open_sqlite(self, settings: Settings) -> None:
        try:
            sqlite = SqliteLog(self._sqlite_path, settings.log.max_bytes, Positions(self.store))
        except sqlite3.Error as error:
            raise ConfigurationError(f"data_dir: cannot keep the event log in {self._sqlite_path}: {error}") from None
        self._closing.callback(sqlite.close)
        self.log = self.appender = sqlite

    @property
    def _sqlite_path(self) -> Path:
        return self.settings.data_dir / "log.sqlite"

    def _open_kafka(self, settings: KafkaSettings, ingests: bool) -> None:
        producer = KafkaProducer(settings)
        self._closing.callback(producer.close)
        self.appender = producer
        self._dead_letter_sink = producer if settings.dead_letter_topic else None
        if ingests:
            look_seconds = self.settings.server.unready_seconds / PROBE_SHARE
            self.log = kafka_log = KafkaLog(settings, positions=Positions(self.store), look_seconds=look_seconds)
            self._closing.callback(kafka_log.close)

    def start(self) -> None:
        """Create the configured meters, then start consuming, filling and refreshing."""
        self.registry.drop_orphans()
        self._create_configured_meters()
        self.registry.refresh()
        if self.log and self.settings.kafka.brokers:
            self._store_what_is_left()
        if self.log and not self.workers.stop.is_set():
            self._start_ingest(self.log)
        self.workers.repeat("refresher", self.registry.refresh, 1.0)
        self.workers.repeat("revocations", self.tokens.refresh, 0.5)  # on its own: within a second, however many meters
        parts = (self.settings, self.store, self.registry, self.workers, self.appender, self.log, self._consumer)
        self._health = watched(Parts(*parts, serves=self._serves))
        metrics.READY.set_function(lambda: 0 if self.readiness().away else 1)

    def _store_what_is_left(self) -> None:
        """Take up what the data directory's own log holds of the time before Kafka."""
        if self._lock:
            sink = self._dead_letter_sink
            store_what_is_left(self._sqlite_path, self.store, self.settings, self.workers.stop, sink)
        else:  # nothing says that the directory belongs to this store
            warn_of_what_is_left(self._sqlite_path)

    def _start_ingest(self, log: EventLog) -> None:
        if isinstance(log, SqliteLog):
            compare_with_store(log, self.store)
        self._consumer = consumer = Consumer(
            log, self.store, fitting_batches(self.settings), self.workers.stop, dead_letter_sink=self._dead_letter_sink
        )
        filler = Filler(self.store, self.registry, Settling(consumer.unresolved, consumer.claims))

        def fill() -> None:
            while log.leads() and not self.workers.stop.is_set() and filler.step():
                pass

        self.workers.run("consumer", consumer.run)
        self.workers.repeat("filler", fill, 0.2)

    def stop(self, drain_seconds: float = 0) -> None:
        """Let the consumer empty a log of our own for up to `drain_seconds`, then stop and close everything."""
        deadline = time.monotonic() + drain_seconds
        while self._has_own_work() and time.monotonic() < deadline and not self.workers.stop.is_set():
            time.sleep(0.02)
        self.workers.join(timeout_seconds=30)
        self._closing.close()

    def _has_own_work(self) -> bool:
        return self._consumer is not None and isinstance(self.log, SqliteLog) and self.log.has_work()

    def announce(self, url: str) -> None:
        """Let commands that find the data directory in use know where to ask."""
        if self._lock:
            self._lock.announce(url)

    def app(self) -> Starlette:
        """Return the HTTP application."""
        return create_app(self._services())

    def telemetry_app(self) -> Starlette:
        """Return the application of the telemetry port."""
        return create_telemetry_app(self._services())

    def readiness(self) -> Readiness:
        """Say what the process cannot do and why; what it does nevertheless."""
        health = self._health or Health([], self.settings.server.unready_seconds)
        failure = self.workers.failure
        if failure:
            # The words of others may name hosts and statements: they are in the log.
            words = str(failure) if isinstance(failure, Fatal) else type(failure).__name__
            return health.ended(f"thread {self.workers.failed}", words)
        if self.stopping or self.workers.stop.is_set():
            return health.ended("process", "stopping")
        return health.readiness()

    def _services(self) -> Services:
        return Services(
            settings=self.settings,
            store=self.store,
            registry=self.registry,
            tokens=self.tokens,
            subjects=self.subjects,
            log=self.appender,
            readiness=self.readiness,
        )

    def _failed(self) -> None:
        self.when_failed()

    def _create_configured_meters(self) -> None:
        definitions = configured_definitions(self.settings.meters, self.settings.reserved_event_types)
        missing = [(at, definition) for at, definition in enumerate(definitions) if self._is_missing(at, definition)]
        for at, definition in missing:
            try:
                self.registry.create(definition)
            except Conflict:
                self._is_missing(at, definition)  # another process made it meanwhile; the same one, or this raises
            else:
                _log.info("meter_created slug=%s", definition.slug)

    def _is_missing(self, at: int, definition: MeterDefinition) -> bool:
        """Return whether a configured meter is to be created. Raises: ConfigurationError: it cannot be."""
        for meter in self.registry.all():
            if meter.slug == definition.slug:
                if meter.definition.counted == definition.counted:
                    return False
                raise ConfigurationError(
                    f"meters: {definition.slug} exists with another definition; delete it or change it"
                )
        try:
            self.registry.check_paths(definition)
        except InvalidMeter as error:
            raise ConfigurationError(f"meters[{at}]: {error}") from None
        return True


app = typer.Typer(
    name="meterport",
    help="Usage metering on ClickHouse: exact through any crash, answered in milliseconds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: brackets and examples stay as they are written
)
config_app = typer.Typer(help="Settings.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(console.meters, name="meters")
app.add_typer(console.token, name="token")
app.add_typer(dead_letters_console.dead_letters, name="dead-letters")
app.add_typer(config_app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meterport {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
]


@app.callback()
def _root(context: typer.Context, version: Version = False) -> None:  # noqa: ARG001 - its callback has printed it
    context.obj = _connect


def _overrides(**flags: Any) -> dict[str, Any]:
    """Nest flags given as group__name; leave out those not given."""
    nested: dict[str, Any] = {}
    for flag, value in flags.items():
        if value is not None:
            group, _, name = flag.partition("__")
            if name:
                nested.setdefault(group, {})[name] = value
            else:
                nested[group] = value
    return nested


Brokers = Annotated[str | None, typer.Option(help="Kafka brokers, host:port,host:port. Default: none, SQLite.")]
Topic = Annotated[str | None, typer.Option(help="Topic of events. Default: om_default_events.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="Port; 0 takes a free one. Default: 8888.")]
Group = Annotated[str | None, typer.Option(help="Consumer group. Default: meterport.")]


@app.command()
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
    flags = _overrides(
        data_dir=data_dir,
        server__host=host,
        server__port=port,
        kafka__brokers=kafka_brokers,
        kafka__topic=kafka_topic,
        kafka__group=kafka_group,
    )
    _run(load_settings(config, overrides=flags), _serve)


@app.command()
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
    flags = _overrides(server__host=host, server__port=port, kafka__brokers=kafka_brokers, kafka__topic=kafka_topic)
    _run(_distributed(load_settings(config, overrides=flags), "api"), _serve, ingests=False)


@app.command()
def ingest(
    config: Config = None, kafka_brokers: Brokers = None, kafka_topic: Topic = None, kafka_group: Group = None
) -> None:
    """Meter what is in the Kafka topic: move events into a ClickHouse server, exactly once.

    Any number of these processes share the topic's partitions; one may come or die at any moment.
    """
    flags = _overrides(kafka__brokers=kafka_brokers, kafka__topic=kafka_topic, kafka__group=kafka_group)
    _run(_distributed(load_settings(config, overrides=flags, listens=False), "ingest"), _ingest, serves=False)


def _distributed(settings: Settings, command: str) -> Settings:
    """Raises: ConfigurationError: what several processes share is not named."""
    for name, value in (("store.url", settings.store.url), ("kafka.brokers", settings.kafka.brokers)):
        if not value:
            raise ConfigurationError(f"{name}: `meterport {command}` needs it; without, `meterport serve` does all")
    return settings


def _run(settings: Settings, work: Callable[[Service], None], ingests: bool = True, serves: bool = True) -> None:
    configure_logging(settings)
    service = Service(settings, ingests, serves)
    try:
        service.start()
        work(service)
    finally:
        service.stop(drain_seconds=settings.server.shutdown_seconds)
    if service.workers.failure:
        raise service.workers.failure
    _log.info("stopped")


app.command()(console.query)
app.command("import")(import_command)


@config_app.command("show")
def show_config(config: Config = None, data_dir: DataDir = None) -> None:
    """Print the settings in force as YAML: defaults too, secrets masked, each with where it came from.

    \b
    Example:
      METERPORT_LOG_LEVEL=debug meterport config show --config meterport.yaml
    """
    flags = _overrides(data_dir=data_dir)
    typer.echo(settings_yaml(load_settings(config, overrides=flags), flags, config), nl=False)


def _connect(
    config: Path | None, data_dir: Path | None, server: str | None
) -> contextlib.AbstractContextManager[ApiClient]:
    return connect(load_settings(config, overrides=_overrides(data_dir=data_dir)), server)


@contextlib.contextmanager
def connect(settings: Settings, server: str | None = None) -> Iterator[ApiClient]:
    """Yield a client of `server`; or of the process that has the data directory open; or of one within this.

    With a ClickHouse server configured there is no third way: whoever serves from it may be anywhere.
    """
    if server is not None and not is_http_url(server):
        raise ConfigurationError(f"--server: {without_userinfo(server)!r} is no URL of a server: http(s)://host:port")
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    key = settings.api_key.get_secret_value() if settings.api_key else None
    url = local_url(settings.server.host, settings.server.port)
    if server or settings.store.url:
        hint = "" if server else "; give the URL of a running server with --server"
        with contextlib.closing(ApiClient(server or url, key, hint, proxied=True, on_pause=say)) as client:
            yield client
        return
    own_key = secrets.token_urlsafe(32)  # other users of this machine can reach the port, but not know the key
    try:
        service = Service(settings.model_copy(update={"api_key": SecretStr(own_key), "api_key_sha256": None}))
    except DataDirectoryInUse as error:
        hint = f"; but {error}: give its URL with --server"
        if error.url and not is_of_this_machine(error.url):
            wrong = f"data_dir: its lock names {error.url}, which is no address of this machine"
            raise ConfigurationError(f"{wrong}{hint}") from None
        with contextlib.closing(ApiClient(error.url or url, key, hint, on_pause=say)) as client:
            yield client
        return
    with (
        _private_server(service) as private_url,
        contextlib.closing(ApiClient(private_url, own_key, on_pause=say)) as client,
    ):
        yield client


@contextlib.contextmanager
def _private_server(service: Service) -> Iterator[str]:
    """Run a service and a server of it on a free loopback port; on leaving, both end and the log is drained."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = HttpServer(uvicorn_config(service.app(), "127.0.0.1", 0, service.settings))
        thread = threading.Thread(target=server.run, args=([listener],), name="server", daemon=True)
        try:
            service.start()
            thread.start()
            yield url
        finally:
            server.should_exit = True
            if thread.is_alive():
                thread.join()
            service.stop(drain_seconds=service.settings.server.shutdown_seconds)
    if service.workers.failure:
        raise service.workers.failure


def _serve(service: Service) -> None:
    """Answer requests until a signal, or until a worker fails."""
    settings = service.settings.server
    server = HttpServer(
        uvicorn_config(service.app(), settings.host, settings.port, service.settings),
        when_listening=lambda port: service.announce(local_url(settings.host, port)),
    )
    service.when_failed = server.end
    listener = bound(settings.host, settings.port, "server.port")
    _serve_telemetry(service)
    if service.settings.api_key_digest is None:
        _log.warning("no_api_key: the management API is open to everyone on this machine; set METERPORT_API_KEY")
    _on_signal(service, server.end)
    server.run([listener])


def _ingest(service: Service) -> None:
    """Wait until a signal, or until a worker fails: the workers do the work."""
    _serve_telemetry(service)

    def end(reason: str) -> None:
        _log.info("stopping reason=%s", reason)
        service.workers.stop.set()

    _on_signal(service, end)
    _log.info("ingesting topic=%s group=%s", service.settings.kafka.topic, service.settings.kafka.group)
    while not service.workers.stop.wait(1):
        pass


def _serve_telemetry(service: Service) -> None:
    settings = service.settings.server
    if settings.telemetry_port is not None:
        config = uvicorn_config(
            service.telemetry_app(), settings.telemetry_host, settings.telemetry_port, service.settings, "telemetry"
        )
        telemetry = HttpServer(config, purpose="telemetry")
        listener = bound(settings.telemetry_host, settings.telemetry_port, "server.telemetry_port")
        threading.Thread(target=telemetry.run, args=([listener],), name="telemetry", daemon=True).start()


def _on_signal(service: Service, end: Callable[[str], None]) -> None:
    def handle(number: int, _: object) -> None:
        service.stopping = True  # the telemetry port says so while requests are finished
        end(signal.Signals(number).name)

    for ending in ENDING:
        signal.signal(ending, handle)


def _keeps_data(settings: Settings) -> bool:
    """Whether anything is kept in the data directory, which one process has then for itself."""
    return not (settings.store.url and settings.kafka.brokers)


def _one_line(error: MeterportError) -> str:
    """Return what an error says; several problems, each of which has a line, on one."""
    return fit_to_show("; ".join(str(error).splitlines()))


def _show_trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the trace of a defect; a library's words in it may hold a secret or what a terminal obeys."""
    print(fit_to_show("".join(traceback.format_exception(kind, error, trace)).rstrip()), file=sys.stderr)  # noqa: T201


def run() -> None:
    """Run the command line; errors of ours are one line on stderr, without anything that a terminal obeys."""
    command = typer.main.get_command(app)
    require_utf8(command)
    use_plain_words(command)
    sys.excepthook = _show_trace
    try:
        command(prog_name="meterport")
    except ConfigurationError as error:
        print(f"meterport: {_one_line(error)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_CONFIG) from None
    except MeterportError as error:
        print(f"meterport: {_one_line(error)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_SOFTWARE if isinstance(error, Fatal) else 1) from None
