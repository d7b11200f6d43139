"""The composition root: builds store, log, engine, consumer and application from settings, and holds the command line.

It alone sees `engine`, `ingest` and `api` together.
"""

import contextlib
import logging
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from starlette.applications import Starlette

from api import console
from api.app import Services, create_app, create_telemetry_app
from api.client import ApiClient
from api.server import HttpServer, local_url, uvicorn_config
from engine import __version__, faults, metrics
from engine.embedded import DirectoryLock
from engine.errors import ConfigurationError, DataDirectoryInUse, Fatal, MeterportError
from engine.fill import Filler
from engine.logs import configure_logging
from engine.meters import MeterState, parse_definition
from engine.migrations import migrate
from engine.options import Config, DataDir
from engine.registry import MeterRegistry
from engine.settings import Settings, load_settings
from engine.settings_listing import settings_yaml
from engine.store import open_store
from engine.subjects import Subjects
from engine.tokens import PortalTokens, load_token_keys
from ingest.console import import_command
from ingest.consumer import Consumer
from ingest.sqlite_log import SqliteLog
from ingest.workers import Workers

_log = logging.getLogger("meterport")
EX_CONFIG = 78
EX_SOFTWARE = 70


class Service:
    """Everything of one process: open from construction on, running between `start` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        faults.arm(settings.fault)
        self.settings = settings
        self._lock = DirectoryLock(settings.data_dir)
        self.store = open_store(settings)
        for name in migrate(self.store, settings):
            _log.info("migration_completed name=%s", name)
        self.store.check_tables()
        self.log = SqliteLog(settings.data_dir / "log.sqlite", settings.log.max_bytes)
        self.registry = MeterRegistry(self.store)
        self.tokens = PortalTokens(self.store, load_token_keys(settings), settings.portal)
        self.subjects = Subjects(self.store)
        self.workers = Workers(on_failure=self._failed)
        self.stopping = False
        self.when_failed: Callable[[], None] = lambda: None
        self._consumer = Consumer(self.log, self.store, settings.ingest, self.workers.stop, self.registry.earliest_ms)
        self._filler = Filler(self.store, self.registry, self.log.settled_before)
        metrics.LOG_RECORDS.set_function(lambda: self.log.lag().records)
        metrics.LOG_BYTES.set_function(lambda: self.log.lag().bytes)

    def start(self) -> None:
        """Create the configured meters, then start consuming, filling and refreshing."""
        self.registry.drop_orphans()
        self._create_configured_meters()
        self._refresh()
        self.workers.run("consumer", self._consumer.run)
        self.workers.repeat("filler", self._fill, 0.2)
        self.workers.repeat("refresher", self._refresh, 1.0)

    def stop(self, drain_seconds: float = 0) -> None:
        """Let the consumer empty the log for up to `drain_seconds`, then stop and close everything."""
        deadline = time.monotonic() + drain_seconds
        while self.log.lag().records and time.monotonic() < deadline and not self.workers.stop.is_set():
            time.sleep(0.02)
        self.workers.join(timeout_seconds=30)
        self.log.close()
        self.store.close()
        self._lock.release()

    def announce(self, url: str) -> None:
        """Let commands that find the data directory in use know where to ask."""
        self._lock.announce(url)

    def app(self) -> Starlette:
        """Return the HTTP application."""
        return create_app(self._services())

    def telemetry_app(self) -> Starlette:
        """Return the application of the telemetry port."""
        return create_telemetry_app(self._services())

    def unready(self) -> str | None:
        """Say why the process should get no traffic; None if it should."""
        if self.workers.failure:
            return str(self.workers.failure)
        return "stopping" if self.stopping or self.workers.stop.is_set() else None

    def _services(self) -> Services:
        return Services(
            settings=self.settings,
            store=self.store,
            registry=self.registry,
            tokens=self.tokens,
            subjects=self.subjects,
            log=self.log,
            unready=self.unready,
        )

    def _fill(self) -> None:
        while not self.workers.stop.is_set() and self._filler.step():
            pass

    def _refresh(self) -> None:
        self.registry.refresh()
        self.tokens.refresh()
        states = [meter.state for meter in self.registry.all()]
        for state in MeterState:
            metrics.METERS.labels(state.value).set(states.count(state))

    def _failed(self) -> None:
        self.when_failed()

    def _create_configured_meters(self) -> None:
        existing = {meter.slug: meter for meter in self.registry.all()}
        for body in self.settings.meters:
            definition = parse_definition(body)
            meter = existing.get(definition.slug)
            if meter is None:
                self.registry.create(definition)
                _log.info("meter_created slug=%s", definition.slug)
            elif meter.definition.counted != definition.counted:
                raise ConfigurationError(
                    f"meters: {definition.slug} exists with another definition; delete it or change it"
                )


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


@app.command()
def serve(
    config: Config = None,
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one. Default: 8888.")] = None,
) -> None:
    """Serve the API and meter what it takes, in this one process."""
    settings = load_settings(config, overrides=_overrides(data_dir=data_dir, server__host=host, server__port=port))
    configure_logging(settings)
    service = Service(settings)
    try:
        service.start()
        _serve(service)
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
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    key = settings.api_key.get_secret_value() if settings.api_key else None
    url = local_url(settings.server.host, settings.server.port)
    if server or settings.store.url:
        hint = "" if server else "; give the URL of a running server with --server"
        with contextlib.closing(ApiClient(server or url, key, hint, proxied=True)) as client:
            yield client
        return
    own_key = secrets.token_urlsafe(32)  # other users of this machine can reach the port, but not know the key
    try:
        service = Service(settings.model_copy(update={"api_key": SecretStr(own_key), "api_key_sha256": None}))
    except DataDirectoryInUse as error:
        hint = f"; but {error}: give its URL with --server"
        with contextlib.closing(ApiClient(error.url or url, key, hint)) as client:
            yield client
        return
    with _private_server(service) as private_url, contextlib.closing(ApiClient(private_url, own_key)) as client:
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
    server_settings = service.settings.server
    server = HttpServer(
        uvicorn_config(service.app(), server_settings.host, server_settings.port, service.settings),
        when_listening=lambda port: service.announce(local_url(server_settings.host, port)),
    )
    service.when_failed = server.end
    if server_settings.telemetry_port is not None:
        telemetry = HttpServer(
            uvicorn_config(
                service.telemetry_app(),
                server_settings.telemetry_host,
                server_settings.telemetry_port,
                service.settings,
            ),
            purpose="telemetry",
        )
        threading.Thread(target=telemetry.run, name="telemetry", daemon=True).start()
    if service.settings.api_key_digest is None:
        _log.warning("no_api_key: the management API is open to everyone on this machine; set METERPORT_API_KEY")

    def end(number: int, _: object) -> None:
        service.stopping = True  # the telemetry port says so while requests are finished
        server.end(signal.Signals(number).name)

    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, end)
    server.run()


def main() -> None:
    """Run the command line; errors of ours are one line on stderr."""
    try:
        app(prog_name="meterport")
    except ConfigurationError as error:
        print(f"meterport: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_CONFIG) from None
    except MeterportError as error:
        print(f"meterport: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_SOFTWARE if isinstance(error, Fatal) else 1) from None


if __name__ == "__main__":
    main()
