"""The comparison of the group's committed offsets with the positions in the store, before a process makes it.

Limits: the offsets are read before the positions, so that an ingest process that goes on meanwhile is no gap.
Source: ingest/kafka/start_offsets.py; docs/operations.md "Gaps".
"""

from collections.abc import Callable

from confluent_kafka import TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from engine.store.clickhouse import Store
from ingest.event_log import SEE_GAPS as _SEE
from ingest.kafka.client import kafka_errors
from ingest.kafka.start_offsets import Gap, gap_between
from ingest.kafka.topic_queries import query_topic_id
from ingest.stored_positions import StoredPositions
from meterport.doctor.broker_checks import GROUP, SECONDS, TOPIC, BrokerChecks
from meterport.doctor.report import Check, Warn

GAPS = "gaps"


class GapCheck:
    """Compares the offsets that `brokers` has found with `store`, which returns None for a store without tables."""

    def __init__(self, settings: KafkaSettings, brokers: BrokerChecks, store: Callable[[], Store | None]) -> None:
        self._settings = settings
        self._brokers = brokers
        self._store = store

    def check(self, needs: tuple[str, ...]) -> Check:
        """Return the check. Args: needs: the checks that find the store."""
        return Check(GAPS, self._run, (TOPIC, GROUP, *needs))

    def _run(self) -> str:
        if self._brokers.group.failure or self._brokers.group.unused:
            return f"not checked, because the committed offsets of group {self._settings.group} are not known"
        topic, committed = self._settings.topic, self._brokers.group.offsets
        store = self._store()
        positions = StoredPositions(store).known(topic, query_topic_id(self._settings)).positions if store else {}
        lows = self._first_offsets(sorted(committed.keys() | positions.keys()))
        gaps = {
            number: gap
            for number, low in lows.items()
            if (gap := gap_between(committed.get(number, -1), positions.get(number), low))
        }
        if gaps:
            raise Warn("; ".join(self._described(number, gap, lows[number]) for number, gap in gaps.items()))
        return f"the store has everything that group {self._settings.group} has passed"

    def _described(self, number: int, gap: Gap, low: int) -> str:
        if gap.start < low:
            return (
                f"partition {number}: offsets {gap.start} to {low - 1} were deleted from the topic before they were "
                f"stored: have producers send them again {_SEE}"
            )
        if self._settings.trust_offsets:
            return (
                f"partition {number}: offsets {gap.start} to {gap.end - 1} are not in this store, and would not be "
                f"read, because kafka.trust_offsets is set {_SEE}"
            )
        return (
            f"partition {number}: group {self._settings.group} has passed offsets {gap.start} to {gap.end - 1}, which "
            f"this store lacks: they would be read again; is it the right store.url, store.database and kafka.group? "
            f"{_SEE}"
        )

    def _first_offsets(self, partitions: list[int]) -> dict[int, int]:
        """Return the first offset of each of these partitions that the topic has."""
        topic = self._brokers.topic(self._settings.topic)
        asked = {
            TopicPartition(self._settings.topic, number): OffsetSpec.earliest()  # type: ignore[no-untyped-call]
            for number in partitions
            if topic and number in topic.partitions
        }
        if not asked:
            return {}
        with kafka_errors("asking for the first offsets"):
            try:
                found = self._brokers.admin.list_offsets(asked, request_timeout=SECONDS)
                return {place.partition: answer.result(2 * SECONDS).offset for place, answer in found.items()}
            except TimeoutError:
                raise LogUnavailable(f"Kafka: no answer in {2 * SECONDS} s") from None
