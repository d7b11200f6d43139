"""What is said again and again is logged once a minute."""

import logging
import threading

import pytest

from engine.errors import StoreUnavailable
from engine.logging_setup import OncePerMinute
from ingest.workers import Workers

REFUSED = "FAIL [meterport#%s] [thrd:%s/bootstrap]: %s/bootstrap: Connect failed: Connection refused (after %dms)"
AWAY = "Max retries exceeded with url: /?query_id=%s (Connection refused)"
QUERIES = "7da04809-56a7-464e-9edb-601bbf03f7e0", "d1fdd13d-93fb-4e03-9f07-0952c52f34ab"


def test_a_line_is_let_through_once_a_minute() -> None:
    seconds = 0.0
    said_once = OncePerMinute(lambda: seconds)

    def is_let_through(client: str, broker: str, took_ms: int) -> bool:
        arguments = (client, broker, broker, took_ms)
        return bool(said_once.filter(logging.LogRecord("kafka", logging.ERROR, "", 0, REFUSED, arguments, None)))

    assert is_let_through("producer-1", "kafka-1:9092", 0)
    assert not is_let_through("producer-1", "kafka-1:9092", 3)
    assert not is_let_through("consumer-12", "kafka-1:9092", 0)
    assert is_let_through("producer-1", "kafka-2:9092", 0)
    seconds = 59.0
    assert not is_let_through("producer-1", "kafka-1:9092", 0)
    seconds = 60.0
    assert is_let_through("producer-1", "kafka-1:9092", 0)
    assert not is_let_through("producer-1", "kafka-1:9092", 0)


def test_work_that_fails_again_and_again_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A filler is tried five times a second while the store is away."""
    tries = 0
    enough = threading.Event()
    workers = Workers()

    def fail() -> None:
        nonlocal tries
        tries += 1
        if tries == 10:
            enough.set()
        raise StoreUnavailable(AWAY % QUERIES[tries % 2])

    workers.repeat("filler of a test", fail, 0.001)
    assert enough.wait(30)
    workers.join(30)

    assert len([line for line in caplog.messages if "filler of a test" in line]) == 1
