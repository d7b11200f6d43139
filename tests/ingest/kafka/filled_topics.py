"""Records that tests put into topics, and the offsets of records that a log has read."""

from ingest.event_log import Record
from tests.harness.topics import Topic


def put_two_each(topic: Topic) -> None:
    for partition in range(topic.partitions):
        topic.put(b"%d-a" % partition, b"%d-b" % partition, partition=partition)


def ten() -> list[bytes]:
    return [b"%d" % number for number in range(10)]


def offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]
