"""Values of Kafka records that are not plain JSON text are refused by the name of their form.

Contract 3.5.
"""

import gzip

import pytest

from engine.events.kafka import to_structured_json
from tests.engine.events.kafka_records import EVENT, binary, decoded, refusal

OTHER_FORMS = {
    "Confluent": (b"\0\0\0\x01\x0c" + EVENT, "begins with the prefix of a schema registry (byte 0 and schema id 268)"),
    "Glue": (b"\x03\0" + b"u" * 16 + EVENT, "begins with the prefix of the AWS Glue schema registry"),
    "Glue, compressed": (b"\x03\x05" + b"u" * 16 + EVENT, "begins with the prefix of the AWS Glue schema registry"),
    "gzip": (gzip.compress(EVENT), "is compressed with gzip"),
    "zstd": (b"\x28\xb5\x2f\xfd\x20\x01", "is compressed with zstd"),
    "lz4": (b"\x04\x22\x4d\x18\x40", "is compressed with lz4"),
    "snappy": (b"\x82SNAPPY\0\0\0\0\x01", "is compressed with snappy"),
    "framed snappy": (b"\xff\x06\0\0sNaPpY", "is compressed with snappy"),
    "Avro": (b"Obj\x01\x04", "is an Avro file"),
    "UTF-16": (EVENT.decode().encode("utf-16"), "is UTF-16"),
    "UTF-16, big-endian": (b"\xfe\xff" + EVENT.decode().encode("utf-16-be"), "is UTF-16"),
    "UTF-16 without a mark": (EVENT.decode().encode("utf-16-le"), "is UTF-16"),
    "UTF-16 without a mark, big-endian": (EVENT.decode().encode("utf-16-be"), "is UTF-16"),
    "UTF-32": (EVENT.decode().encode("utf-32"), "is UTF-32"),
    "UTF-32, big-endian": (b"\0\0\xfe\xff" + EVENT.decode().encode("utf-32-be"), "is UTF-32"),
    "UTF-32 without a mark": (EVENT.decode().encode("utf-32-le"), "is UTF-32"),
    "UTF-32 without a mark, big-endian": (EVENT.decode().encode("utf-32-be"), "is UTF-32"),
}


@pytest.mark.parametrize(("value", "form"), OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_a_value_in_another_form_is_refused_by_the_name_of_the_form(value: bytes, form: str) -> None:
    """N21, in both modes."""
    advice = "; send the JSON text alone, in UTF-8"

    assert refusal(value, None) == (f"the value {form}{advice}", None)
    assert refusal(value, binary(kind=b"application/json")) == (f"data {form}{advice}", "data")


def test_a_byte_order_mark_before_the_value_is_passed_over() -> None:
    """N21, RFC 8259 §8.1."""
    assert to_structured_json(b"\xef\xbb\xbf" + EVENT, None) == EVENT
    assert decoded(b'\xef\xbb\xbf{"v": 1}', binary()).data == b'{"v": 1}'
    assert refusal(b"\xef\xbb\xbf", None) == ("the record has no value", None)
    assert decoded(b"\xef\xbb\xbf", binary()).data == b""
    assert refusal(b"\xef\xbb\xbf" * 2 + EVENT, None)[0].startswith("not JSON")


def test_white_space_before_the_value_is_no_other_form() -> None:
    assert decoded(b" \t\r\n" + EVENT, None).subject == "u"
