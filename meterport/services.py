"""The two services of a process, serve and ingest, and the signals that end them."""

import logging
import signal
import threading
from collections.abc import Callable

from engine import metrics
from engine.config.settings import Settings
from engine.logging_setup import configure_logging
from meterport.addresses import local_url
from meterport.early_stop import STOP_SIGNALS
from meterport.opening import open_process
from meterport.ports import API, TELEMETRY, Ports
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
    if not process.settings.management_keys:
        logger.warning("no_api_key: the management API is open to everyone on this machine; set METERPORT_API_KEY")
    process.on_failure = ports.end
    _on_signal(process, ports.end, settings.drain_seconds)
    ports.answer(TELEMETRY, process.telemetry_app(), TELEMETRY)
    ports.answer(API, process.app(), API, on_listening=lambda port: process.announce(local_url(settings.host, port)))
    if process.workers.failure:  # before the ports could be told
        ports.end()
    ports.wait()


def ingest(process: Process, ports: Ports) -> None:
    """Wait until the process gets a signal or a worker fails; the workers do the ingest."""
    ports.answer(TELEMETRY, process.telemetry_app(), TELEMETRY)

    def end(reason: str) -> None:
        logger.info("stopping reason=%s", reason)
        process.workers.stop.set()

    _on_signal(process, end)
    logger.info("ingesting topic=%s group=%s", process.settings.kafka.topic, process.settings.kafka.group)
    while not process.workers.stop.wait(1):
        pass


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
