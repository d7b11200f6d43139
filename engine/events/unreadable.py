"""The recognition of bytes that should be JSON but are not: compressed, in another encoding, with a prefix, and so on.

Owns: a reason that helps the producer, where a parser only says at which byte it stopped. No JSON text begins with one
of these byte sequences, so JSON is never refused here. Bytes that begin with none of them are left to the parser.
Source: RFC 8259, 8.1 (JSON is UTF-8; a reader may ignore a byte order mark); RFC 1952, RFC 8878, the frame formats
of LZ4 and Snappy; the wire formats of the Confluent and the AWS Glue schema registries; docs/contract.md 3.5.
"""

from engine.errors import InvalidEvent

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = "is UTF-16"
_UTF_32 = "is UTF-32"
_GZIP = "is compressed with gzip"
_ZSTD = "is compressed with zstd"
_SNAPPY = "is compressed with snappy"
_GLUE = "begins with the prefix of the AWS Glue schema registry"
_BEGINNINGS = (
    (b"\xff\xfe\0\0", _UTF_32),
    (b"\0\0\xfe\xff", _UTF_32),
    (b"{\0\0\0", _UTF_32),
    (b"[\0\0\0", _UTF_32),
    (b"\0\0\0{", _UTF_32),
    (b"\0\0\0[", _UTF_32),
    (b"\xff\xfe", _UTF_16),
    (b"\xfe\xff", _UTF_16),
    (b"{\0", _UTF_16),
    (b"[\0", _UTF_16),
    (b"\0{\0", _UTF_16),
    (b"\0[\0", _UTF_16),
    (b"\x1f\x8b", _GZIP),
    (b"\x28\xb5\x2f\xfd", _ZSTD),
    (b"\x04\x22\x4d\x18", "is compressed with lz4"),
    (b"\x82SNAPPY\0", _SNAPPY),
    (b"\xff\x06\0\0sNaPpY", _SNAPPY),
    (b"Obj\x01", "is an Avro file"),
    (b"\x03\0", _GLUE),
    (b"\x03\x05", _GLUE),
)
_PREFIX_BYTES = 5  # the prefix of the Confluent schema registry: a zero byte and the id of the schema
_ADVICE = {
    _UTF_16: "send UTF-8",
    _UTF_32: "send UTF-8",
    _GZIP: "only a request with Content-Encoding: gzip is unpacked",
    _ZSTD: "only a request with Content-Encoding: zstd is unpacked",
}
_TRAILING_ERROR = "trailing characters"  # a part of msgspec's message


def why_not_json(value: bytes, error: Exception) -> str:
    """Return why bytes are not JSON. Args: error: the parser's error."""
    if value.startswith(_BYTE_ORDER_MARK):
        return "it begins with a byte order mark, send UTF-8 without it"
    format_ = _other_format(value)
    if format_ is not None:
        return f"it {format_}, {_ADVICE.get(format_, 'send the JSON text alone')}"
    if _TRAILING_ERROR in str(error):
        return f"more follows the first value, send several events as one array: {error}"
    return str(error)


def has_other_format(value: bytes) -> bool:
    """Return whether bytes begin like another format than JSON in UTF-8, or with a byte order mark."""
    return value.startswith(_BYTE_ORDER_MARK) or _other_format(value) is not None


def json_text(value: bytes, name: str, field: str | None = None) -> bytes:
    """Return the value of a Kafka record without a byte order mark.

    Args: name, field: how an error names the value, and the attribute that it reports.
    Raises: InvalidEvent: the value has another format, which the message names.
    """
    if value[:1] == b"{" and value[1:2] != b"\0":
        return value
    format_ = _other_format(value)
    if format_ is not None:
        raise InvalidEvent(f"{name} {format_}; send the JSON text alone, in UTF-8", field)
    return value.removeprefix(_BYTE_ORDER_MARK)


def _other_format(value: bytes) -> str | None:
    """Return the format of the bytes as the end of a sentence ("is compressed with gzip"), or None if unknown."""
    for beginning, format_ in _BEGINNINGS:
        if value.startswith(beginning):
            return format_
    if value[:1] == b"\0" and len(value) > _PREFIX_BYTES:
        schema = int.from_bytes(value[1:_PREFIX_BYTES], "big")
        return f"begins with the prefix of a schema registry (byte 0 and schema id {schema})"
    return None
