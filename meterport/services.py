"""The two services of a process, serve and ingest, and the signals that end them."""

import logging
import signal
import threading
from collections.abc import Callable

from api.server.server import HttpServer, listening_socket, uvicorn_config
from engine.config.settings import Settings
from engine.logging_setup import configure_logging
from meterport.addresses import local_url
from meterport.early_stop import STOP_SIGNALS
from meterport.process import Process

logger = logging.getLogger("meterport")


def run(settings: Settings, work: Callable[[Process], None], ingests: bool = True, serves: bool = True) -> None:
    """Start a process, run a service in it, and stop the process. Raises: the failure of a worker, if one failed."""
    configure_logging(settings)
    process = Process(settings, ingests, serves)
    try:
        process.start()
        work(process)
    finally:
        process.stop(drain_seconds=settings.server.shutdown_seconds)
    if process.workers.failure:
        raise process.workers.failure
    logger.info("stopped")


def serve(process: Process) -> None:
    """Answer requests until the process gets a signal or a worker fails."""
    settings = process.settings.server
    server = HttpServer(
        uvicorn_config(process.app(), settings.host, settings.port, process.settings),
        on_listening=lambda port: process.announce(local_url(settings.host, port)),
    )
    process.on_failure = server.end
    listener = listening_socket(settings.host, settings.port, "server.port")
    _serve_telemetry(process)
    if process.settings.api_key_digest is None:
        logger.warning("no_api_key: the management API is open to everyone on this machine; set METERPORT_API_KEY")
    _on_signal(process, server.end)
    server.run([listener])


def ingest(process: Process) -> None:
    """Wait until the process gets a signal or a worker fails; the workers do the ingest."""
    _serve_telemetry(process)

    def end(reason: str) -> None:
        logger.info("stopping reason=%s", reason)
        process.workers.stop.set()

    _on_signal(process, end)
    logger.info("ingesting topic=%s group=%s", process.settings.kafka.topic, process.settings.kafka.group)
    while not process.workers.stop.wait(1):
        pass


def _serve_telemetry(process: Process) -> None:
    settings = process.settings.server
    if settings.telemetry_port is not None:
        config = uvicorn_config(
            process.telemetry_app(), settings.telemetry_host, settings.telemetry_port, process.settings, "telemetry"
        )
        telemetry = HttpServer(config, purpose="telemetry")
        listener = listening_socket(settings.telemetry_host, settings.telemetry_port, "server.telemetry_port")
        threading.Thread(target=telemetry.run, args=([listener],), name="telemetry", daemon=True).start()


def _on_signal(process: Process, end: Callable[[str], None]) -> None:
    def handle(number: int, _: object) -> None:
        process.stopping = True  # Readiness reports this while requests are completed.
        end(signal.Signals(number).name)

    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, handle)
