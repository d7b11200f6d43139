"""One commit of offsets, whose answer may come after its sender has stopped waiting for it.

librdkafka goes on trying as long as it takes, even after the next rebalance. So a separate thread waits for the answer.
Source: librdkafka rd_kafka_commit; docs/design.md R6.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from confluent_kafka import Consumer, TopicPartition

from engine.errors import LogUnavailable
from ingest.kafka.client import ANSWER_TIMEOUT_SECONDS, to_meterport_error


class CommitRequest:
    """A commit that is sent when this object is made. Until it is answered, nothing else may use the consumer."""

    def __init__(self, consumer: Consumer, offsets: Sequence[TopicPartition]) -> None:
        self._answer = Future[list[TopicPartition] | None]()

        def commit() -> None:
            try:
                self._answer.set_result(consumer.commit(offsets=list(offsets), asynchronous=False))
            except BaseException as error:
                self._answer.set_exception(error)

        threading.Thread(target=commit, name="kafka-commit", daemon=True).start()

    @property
    def answered(self) -> bool:
        return self._answer.done()

    def wait(self) -> None:
        """Wait for the answer. Raises: LogUnavailable, KafkaException: it is not known what is committed."""
        try:
            answered = self._answer.result(ANSWER_TIMEOUT_SECONDS)
        except TimeoutError:
            raise LogUnavailable(f"Kafka: committing: no answer in {ANSWER_TIMEOUT_SECONDS} s") from None
        for partition in answered or []:
            if partition.error is not None:
                raise to_meterport_error(partition.error, f"committing partition {partition.partition}")

    def when_answered(self, action: Callable[[], None]) -> None:
        """Run `action` when the answer has come, in the thread that waits for it."""
        self._answer.add_done_callback(lambda _: action())
