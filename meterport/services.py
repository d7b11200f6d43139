"""The two services of a process, serve and ingest, and the signals that end them."""

import logging
import signal
import threading
from collections.abc import Callable

from api.server.server import HttpServer, uvicorn_config
from engine import metrics
from engine.config.settings import Settings
from engine.logging_setup import configure_logging
from meterport.addresses import local_url
from meterport.early_stop import STOP_SIGNALS
from meterport.opening import open_process
from meterport.ports import Ports
from meterport.process import Process

logger = logging.getLogger("meterport")


def run(settings: Settings, work: Callable[[Process, Ports], None], ingests: bool = True, serves: bool = True) -> None:
    """Open a process, run a service in it, and stop the process. Raises: the failure of a worker, if one failed."""
    configure_logging(settings)
    with Ports(settings) as ports:
        process = open_process(settings, ports, ingests, serves)
        try:
            work(process, ports)
        finally:
            process.stop(drain_seconds=settings.server.shutdown_seconds)
    if process.workers.failure:
        raise process.workers.failure
    logger.info("stopped")


def serve(process: Process, ports: Ports) -> None:
    """Answer requests until the process gets a signal or a worker fails."""
    settings = process.settings.server
    server = HttpServer(
        uvicorn_config(process.app(), settings.host, settings.port, process.settings),
        on_listening=lambda port: process.announce(local_url(settings.host, port)),
    )
    process.on_failure = server.end
    listener = ports.api()
    _serve_telemetry(process, ports)
    if not process.settings.management_keys:
        logger.warning("no_api_key: the management API is open to everyone on this machine; set METERPORT_API_KEY")
    _on_signal(process, server.end, settings.drain_seconds)
    if process.workers.failure:  # before the server could be told
        server.end()
    server.run([listener])


def ingest(process: Process, ports: Ports) -> None:
    """Wait until the process gets a signal or a worker fails; the workers do the ingest."""
    _serve_telemetry(process, ports)

    def end(reason: str) -> None:
        logger.info("stopping reason=%s", reason)
        process.workers.stop.set()

    _on_signal(process, end)
    logger.info("ingesting topic=%s group=%s", process.settings.kafka.topic, process.settings.kafka.group)
    while not process.workers.stop.wait(1):
        pass


def _serve_telemetry(process: Process, ports: Ports) -> None:
    settings, listener = process.settings.server, ports.telemetry()
    if listener is not None:
        port = settings.telemetry_port or 0
        config = uvicorn_config(process.telemetry_app(), settings.telemetry_host, port, process.settings, "telemetry")
        telemetry = HttpServer(config, purpose="telemetry")
        threading.Thread(target=telemetry.run, args=([listener],), name="telemetry", daemon=True).start()


def _on_signal(process: Process, end: Callable[[str], None], drain_seconds: float = 0) -> None:
    """End at the first signal, but keep the ports open for `drain_seconds`; at the second signal, end at once."""

    def handle(number: int, _: object) -> None:
        reason = signal.Signals(number).name
        if drain_seconds and not process.stopping:
            logger.info("draining reason=%s seconds=%g", reason, drain_seconds)
            timer = threading.Timer(drain_seconds, end, (reason,))
            timer.daemon = True
            timer.start()
        else:
            end(reason)
        process.stopping = True  # Readiness reports this while the ports are open and requests are completed.
        metrics.DRAINING.set(1)

    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, handle)
