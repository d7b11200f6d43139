"""Threads that end together: if one ends too early, the process reports its name and ends (N22b, K6)."""

import threading
from collections.abc import Callable

import pytest

from engine.metrics import REGISTRY
from ingest.workers import Workers
from tests.harness.topics import wait_for


@pytest.fixture
def workers() -> Workers:
    return Workers()


def _ending(workers: Workers) -> dict[str, Callable[[], None]]:
    """Return the ways to run a thread, each with a thread that ends by itself."""

    def watch() -> None:
        thread = threading.Thread(target=lambda: None, name="kafka-producer")
        thread.start()
        workers.watch([thread])

    def raise_() -> None:
        raise RuntimeError("a defect")

    return {
        "kafka-producer": watch,
        "consumer": lambda: workers.run("consumer", lambda: None),
        "filler": lambda: workers.repeat("filler", raise_, 0.01),
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", ["kafka-producer", "consumer", "filler"])
def test_a_thread_that_ends_by_itself_ends_the_process_and_is_named(
    workers: Workers, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, the end of the thread for delivery reports was not noticed: every event was 503 until a restart."""
    _ending(workers)[name]()

    wait_for(workers.stop.is_set)

    assert workers.failed_thread == name
    assert workers.failure is not None
    assert f"worker_died name={name}" in caplog.text
    wait_for(lambda: REGISTRY.get_sample_value("meterport_thread_alive", {"thread": name}) == 0)
    workers.join(10)
