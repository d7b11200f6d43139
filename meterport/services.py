"""The two services of a process, serve and ingest, and the signals that end them."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from engine import metrics
from engine.config.settings import Settings
from engine.errors import ConfigurationError
from engine.logging_setup import configure_logging
from engine.tracing.variables import check_variables, is_turned_off
from meterport.addresses import local_url
from meterport.opening import open_process
from meterport.ports import API, TELEMETRY, Ports
from meterport.process import Process
from meterport.stop_requests import FAILURE, StopRequests

logger = logging.getLogger("meterport")


Work = Callable[[Process, Ports, StopRequests], None]


def run(settings: Settings, work: Work, ingests: bool = True, serves: bool = True) -> None:
    """Open a process, run a service in it, and stop the process. Raises: the failure of a worker, if one failed."""
    configure_logging(settings)
    requests = StopRequests()
    with _spans(settings), Ports(settings, on_failure=requests.fail) as ports:
        process = open_process(settings, ports, ingests, serves)
        try:
            _listen(process, requests)
            work(process, ports, requests)
        finally:
            process.stop(drain_seconds=settings.server.shutdown_seconds)
    if process.workers.failure:
        raise process.workers.failure
    logger.info("stopped")


def _spans(settings: Settings) -> AbstractContextManager[None]:
    """Return the context in which the process sends spans, if it is to send any. Raises: ConfigurationError."""
    if not settings.tracing or is_turned_off():
        return nullcontext()
    check_variables()  # before the import, which reads some of them
    try:
        from engine.tracing.opentelemetry import exporting  # noqa: PLC0415 - an extra, not loaded where tracing is off
    except ModuleNotFoundError as error:
        raise ConfigurationError("tracing: OpenTelemetry is not installed: install meterport[otel]") from error
    return exporting()


def serve(process: Process, ports: Ports, requests: StopRequests) -> None:
    """Answer requests until the process gets a signal or a part of it fails.

    After a signal the ports stay open for `server.drain_seconds`; a second signal ends that.
    """
    settings = process.settings.server
    if not process.settings.management_keys:
        logger.warning("no_api_key: the management API is open to everyone on this machine; set METERPORT_API_KEY")
    ports.answer(TELEMETRY, process.telemetry_app(), TELEMETRY)
    ports.answer(API, process.app(), API, on_listening=lambda port: process.announce(local_url(settings.host, port)))
    reason = requests.wait()
    process.stopping = True  # Readiness reports this while the ports are open and requests are completed.
    metrics.DRAINING.set(1)
    if settings.drain_seconds and reason != FAILURE:
        logger.info("draining reason=%s seconds=%g", reason, settings.drain_seconds)
        reason = requests.wait(settings.drain_seconds) or reason
    logger.info("stopping reason=%s", reason)
    ports.complete_requests()


def ingest(process: Process, ports: Ports, requests: StopRequests) -> None:
    """Wait until the process gets a signal or a worker fails; the workers do the ingest."""
    ports.answer(TELEMETRY, process.telemetry_app(), TELEMETRY)
    logger.info("ingesting topic=%s group=%s", process.settings.kafka.topic, process.settings.kafka.group)
    reason = requests.wait()
    process.stopping = True
    metrics.DRAINING.set(1)
    logger.info("stopping reason=%s", reason)


def _listen(process: Process, requests: StopRequests) -> None:
    """Note signals and failures of workers from now on. One may have failed before."""
    process.on_failure = requests.fail
    requests.listen()
    if process.workers.failure:
        requests.fail()
