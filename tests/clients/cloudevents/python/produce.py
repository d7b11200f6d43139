"""Send events with the unmodified CloudEvents SDK for Python: python produce.py BASE_URL [BROKERS TOPIC].

The subject names the case, and `tokens` is its number in the test's table. Print the status of each request as JSON.
"""

import json
import sys
from typing import Any

import httpx
from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion as old_conversion
from cloudevents.v1.http import CloudEvent as OldCloudEvent
from cloudevents.v1.http import to_binary as old_http_binary
from cloudevents.v1.http import to_structured as old_http_structured
from cloudevents.v1.kafka import to_binary as old_kafka_binary
from cloudevents.v1.kafka import to_structured as old_kafka_structured

base_url, *kafka_arguments = sys.argv[1:]
JSON_TYPE = {"datacontenttype": "application/json"}
statuses: dict[str, int] = {}


def event(subject: str, tokens: Any, **attributes: Any) -> CloudEvent:
    data = tokens if isinstance(tokens, bytes) else {"tokens": tokens}
    return CloudEvent({"type": "python-prompt", "source": "/python", "subject": subject, **attributes}, data)


def old(subject: str, tokens: Any, **attributes: Any) -> OldCloudEvent:
    data = tokens if isinstance(tokens, bytes) else {"tokens": tokens}
    return OldCloudEvent({"type": "python-prompt", "source": "/python-old", "subject": subject, **attributes}, data)


def encoded(tokens: int) -> bytes:
    return b'{"tokens": %d}' % tokens


def post(subject: str, headers: dict[str, str], body: bytes) -> None:
    statuses[subject] = httpx.post(f"{base_url}/api/v1/events", headers=headers, content=body).status_code


def send_by_http() -> None:
    for subject, message in {
        "structured": http.to_structured_event(event("structured", 1, trace="t-1")),
        "structured bytes": http.to_structured_event(event("structured bytes", encoded(2), **JSON_TYPE)),
        "binary": http.to_binary_event(event("binary", 3)),
        "binary typed": http.to_binary_event(event("binary typed", 4, number=7, flag=True, **JSON_TYPE)),
        "binary bytes": http.to_binary_event(event("binary bytes", encoded(5))),
        "Zoë/€ 1%": http.to_binary_event(event("Zoë/€ 1%", 6)),
    }.items():
        post(subject, dict(message.headers), message.body)
    batch = b"[%s,%s]" % tuple(JSONFormat().write(event(f"batch {number}", 6 + number)) for number in (1, 2))
    post("batch", {"Content-Type": "application/cloudevents-batch+json"}, batch)
    for subject, (headers, body) in {
        "old structured": old_http_structured(old("old structured", 9)),
        "old structured bytes": old_http_structured(old("old structured bytes", encoded(10))),
        "old binary": old_http_binary(old("old binary", 11)),
        "old binary typed": old_http_binary(old("old binary typed", 12, **JSON_TYPE)),
    }.items():
        post(subject, headers, body)
    older = b"[%s]" % old_conversion.to_json(old("old batch", 13))
    post("old batch", {"Content-Type": "application/cloudevents-batch+json"}, older)


def send_by_kafka(brokers: str, topic: str) -> None:
    from confluent_kafka import Producer  # noqa: PLC0415 - only needed with brokers

    producer = Producer({"bootstrap.servers": brokers})
    for message in (
        kafka.to_structured_event(event("kafka structured", 21)),
        kafka.to_structured_event(event("kafka structured bytes", encoded(22), **JSON_TYPE)),
        kafka.to_binary_event(event("kafka binary", 23, partitionkey="p", trace="t-1")),
        kafka.to_binary_event(event("kafka binary typed", encoded(24), **JSON_TYPE)),
        kafka.to_binary_event(event("kafka Zoë/€ %20", 25)),
        old_kafka_structured(old("old kafka structured", 26)),
        old_kafka_structured(old("old kafka structured typed", 27, **JSON_TYPE)),
        old_kafka_structured(old("old kafka structured bytes", encoded(28), **JSON_TYPE)),
        old_kafka_binary(old("old kafka binary typed", 29, partitionkey="p", **JSON_TYPE)),
    ):
        producer.produce(topic, value=message.value, key=message.key, headers=dict(message.headers))
    assert producer.flush(30) == 0


send_by_http()
if kafka_arguments:
    send_by_kafka(*kafka_arguments)
print(json.dumps(statuses))  # noqa: T201
