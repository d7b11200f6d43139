"""What the brokers report about a topic, asked through the consumer of a group member.

Limits: each question waits ANSWER_TIMEOUT_SECONDS for its answer, unless it says otherwise.
Source: librdkafka's list_topics, query_watermark_offsets and offsets_for_times; KIP-516 (topic ids).
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable

from confluent_kafka import OFFSET_END, OFFSET_INVALID, Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from engine.config.kafka_settings import KafkaSettings
from ingest.kafka.client import ANSWER_TIMEOUT_SECONDS, client_options, connect, to_meterport_error

logger = logging.getLogger(__name__)
_NO_TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # what brokers before Kafka 2.8 report, and some others that speak the protocol


class TopicQueries(ABC):
    """The questions about the topic that `settings` name. A subclass has the consumer, and says when it may be used."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topic = settings.topic

    @abstractmethod
    def _current_consumer(self) -> Consumer:
        """Return the consumer to ask with."""

    def partitions(self, seconds: float | None = None) -> set[int]:
        """Return the numbers of the topic's partitions. Raises: KafkaException, LogUnavailable."""
        found = self._current_consumer().list_topics(
            self._topic, timeout=ANSWER_TIMEOUT_SECONDS if seconds is None else seconds
        )
        topic = found.topics[self._topic]
        if topic.error is not None:
            raise to_meterport_error(topic.error, f"looking for topic {self._topic}")
        return set(topic.partitions)

    def topic_id(self) -> str:
        """See `query_topic_id`."""
        return query_topic_id(self._settings)

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset a partition has, and the offset after its last. Raises: KafkaException."""
        low, high = self._current_consumer().get_watermark_offsets(
            self._topic_partition(partition), timeout=ANSWER_TIMEOUT_SECONDS
        )
        return low, high

    def cached_bounds(self, partition: int) -> tuple[int, int]:
        """Return the bounds as of the last fetch; negative if nothing was fetched yet."""
        low, high = self._current_consumer().get_watermark_offsets(self._topic_partition(partition), cached=True)
        return low, high

    def ends(self, partitions: Iterable[int], seconds: float) -> dict[int, int]:
        """Return the offset after the last one of each partition, with one request per broker. Raises: KafkaException.

        A partition whose leader does not answer in time is left out.
        """
        # OFFSET_END in the place of a time asks for the end.
        asked = [self._topic_partition(number, OFFSET_END) for number in partitions]
        found = self._current_consumer().offsets_for_times(asked, timeout=seconds) if asked else []
        return {answer.partition: answer.offset for answer in found if answer.error is None}

    def _topic_partition(self, partition: int, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self._topic, partition, offset)


def query_topic_id(settings: KafkaSettings) -> str:
    """Return the id of the topic of events, which another topic of its name would not have; "" if it cannot be had."""
    topic = settings.topic
    try:
        admin = connect(AdminClient, client_options(settings, {}))
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_TIMEOUT_SECONDS)
        found = str(described[topic].result(ANSWER_TIMEOUT_SECONDS).topic_id)
    except (KafkaException, TimeoutError) as error:
        logger.warning("topic_id_unknown topic=%s error=%s", topic, error)
        return ""
    return "" if found == _NO_TOPIC_ID else found
