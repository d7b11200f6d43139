"""What the Kafka client says again and again is logged once a minute."""

import logging

from ingest.kafka.client import SaidOnce

REFUSED = "FAIL [meterport#%s] [thrd:%s/bootstrap]: %s/bootstrap: Connect failed: Connection refused (after %dms)"


def test_a_line_is_let_through_once_a_minute() -> None:
    seconds = 0.0
    said_once = SaidOnce(lambda: seconds)

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
