"""What bytes are that should be JSON and are not: compressed, marked, in another encoding, or several values.

Owns: the reason that a producer can act on, where a parser only says at which byte it stopped.
Source: RFC 8259, 8.1 (JSON is UTF-8 without a byte order mark); RFC 1952 and RFC 8878 (how gzip and zstd begin).
"""

_UTF_16 = "it is UTF-16, send UTF-8"
_BEGINNINGS = (
    (b"\xef\xbb\xbf", "it begins with a byte order mark, send UTF-8 without it"),
    (b"\xff\xfe", _UTF_16),
    (b"\xfe\xff", _UTF_16),
    (b"{\0", _UTF_16),
    (b"[\0", _UTF_16),
    (b"\0{", _UTF_16),
    (b"\0[", _UTF_16),
    (b"\x1f\x8b", "it is compressed with gzip, only a request with Content-Encoding: gzip is unpacked"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd, only a request with Content-Encoding: zstd is unpacked"),
)
_MORE = "trailing characters"  # msgspec's words


def why_not_json(value: bytes, error: Exception) -> str:
    """Return why bytes are no JSON. Args: error: what the parser said."""
    for beginning, reason in _BEGINNINGS:
        if value.startswith(beginning):
            return reason
    if _MORE in str(error):
        return f"more follows the first value, send several events as one array: {error}"
    return str(error)


def is_foreign(value: bytes) -> bool:
    """Whether bytes begin as something does that is no JSON in UTF-8."""
    return value.startswith(tuple(beginning for beginning, _ in _BEGINNINGS))
