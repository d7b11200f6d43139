"""What bytes are that should be JSON and are not: compressed, marked, in another encoding, behind a prefix, or several.

Owns: the reason that a producer can act on, where a parser only says at which byte it stopped. JSON begins with none of
the marks, so JSON is never refused here; bytes without a mark are left to the parser.
Source: RFC 8259, 8.1 (JSON is UTF-8; a reader may pass over a byte order mark); RFC 1952, RFC 8878, the frame formats
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
_PREFIX_BYTES = 5  # of the Confluent registry: a zero byte and the schema's id
_ADVICE = {
    _UTF_16: "send UTF-8",
    _UTF_32: "send UTF-8",
    _GZIP: "only a request with Content-Encoding: gzip is unpacked",
    _ZSTD: "only a request with Content-Encoding: zstd is unpacked",
}
_MORE = "trailing characters"  # msgspec's words


def why_not_json(value: bytes, error: Exception) -> str:
    """Return why bytes are no JSON. Args: error: what the parser said."""
    if value.startswith(_BYTE_ORDER_MARK):
        return "it begins with a byte order mark, send UTF-8 without it"
    form = _form(value)
    if form is not None:
        return f"it {form}, {_ADVICE.get(form, 'send the JSON text alone')}"
    if _MORE in str(error):
        return f"more follows the first value, send several events as one array: {error}"
    return str(error)


def is_foreign(value: bytes) -> bool:
    """Whether bytes begin as something does that is no JSON in UTF-8."""
    return value.startswith(_BYTE_ORDER_MARK) or _form(value) is not None


def json_text(value: bytes, name: str, field: str | None = None) -> bytes:
    """Return the value of a Kafka record without a byte order mark; `name` and `field` say in an error what it is.

    Raises: InvalidEvent: the value has another form, which the reason names.
    """
    if value[:1] == b"{" and value[1:2] != b"\0":
        return value
    form = _form(value)
    if form is not None:
        raise InvalidEvent(f"{name} {form}; send the JSON text alone, in UTF-8", field)
    return value.removeprefix(_BYTE_ORDER_MARK)


def _form(value: bytes) -> str | None:
    """Return what the bytes are, as the end of a sentence that begins with their name."""
    for beginning, form in _BEGINNINGS:
        if value.startswith(beginning):
            return form
    if value[:1] == b"\0" and len(value) > _PREFIX_BYTES:
        schema = int.from_bytes(value[1:_PREFIX_BYTES], "big")
        return f"begins with the prefix of a schema registry (byte 0 and schema id {schema})"
    return None
