"""How long a process may take to end after SIGTERM: a supervisor must not kill it before."""

from engine.config.settings import Settings

WORKERS_SECONDS = 30  # for the threads of a process together, to complete the step that they are at
LEAVE_SECONDS = 10  # for the group's answer
SPANS_SECONDS = 3.0  # for the last spans, if the OTLP endpoint does not take them


def grace_parts(settings: Settings) -> dict[str, float]:
    """Return the seconds that each part of the end may take, in order. Their sum is the grace period."""
    server, kafka = settings.server, settings.kafka
    parts = {"server.drain_seconds": server.drain_seconds, "server.shutdown_seconds": float(server.shutdown_seconds)}
    if not kafka.brokers:
        parts["storing the SQLite log (server.shutdown_seconds)"] = float(server.shutdown_seconds)
    parts["the current step of each thread"] = WORKERS_SECONDS
    if kafka.brokers:
        parts["leaving the consumer group"] = LEAVE_SECONDS
        parts["kafka.produce_seconds"] = kafka.produce_seconds
    if settings.tracing:
        parts["sending the last spans"] = SPANS_SECONDS
    return parts
