"""Content encodings of request bodies: gzip and zstd are unpacked, any other is refused by name.

Owns: the size limit of an unpacked body. It is checked during unpacking, so at most one chunk more than the limit is
ever produced.
Source: docs/contract.md "Requests"; RFC 9110, 8.4 and 15.5.16; RFC 1952 (gzip, one member or several); RFC 8878 (zstd).
"""

import pyarrow as pa
from starlette.requests import Request

from api.http.problems import ACCEPTED_ENCODINGS, InvalidParameter
from engine.errors import TooLarge, UnsupportedEncoding

_MAGIC_BYTES = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_SKIPPABLE_FRAME = b"\x2a\x4d\x18"  # bytes 2 to 4, after a first byte of 0x50 to 0x5f; a zstd body may begin so
_ALIASES = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3
_CHUNK_BYTES = 1 << 16


def content_encoding(request: Request) -> str:
    """Return the body's content encoding, or "" if it has none. Raises: UnsupportedEncoding."""
    sent = ", ".join(request.headers.getlist("content-encoding"))
    names = [name.strip().lower() for name in sent.split(",")]
    names = [_ALIASES.get(name, name) for name in names if name not in {"", "identity"}]
    if not names:
        return ""
    if len(names) > 1 or names[0] not in _MAGIC_BYTES:
        raise UnsupportedEncoding(
            f"content encoding {sent[:80]!r} is not supported, send one of: {ACCEPTED_ENCODINGS}, or none"
        )
    return names[0]


def unpack(encoding: str, packed: bytes, limit: int) -> bytes:
    """Return a body, unpacked.

    Raises: InvalidParameter: it is not in this encoding, or it is cut off. TooLarge: it is longer than `limit` bytes.
    """
    if not packed:
        raise InvalidParameter(f"invalid request body: the {encoding} data is cut off")
    if not _has_magic_bytes(encoding, packed):
        raise InvalidParameter(f"invalid request body: its content encoding says {encoding}, but it is not")
    chunks, size = [], 0
    with pa.input_stream(pa.BufferReader(packed), compression=encoding) as stream:
        while chunk := _read(stream, encoding):
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the unpacked body is longer than {limit} bytes")
            chunks.append(chunk)
    return b"".join(chunks)


def _has_magic_bytes(encoding: str, packed: bytes) -> bool:
    """Return whether a body begins as its encoding requires. Without this, zlib would accept its other formats too."""
    matches = packed.startswith(_MAGIC_BYTES[encoding][: len(packed)])
    return matches or (encoding == "zstd" and packed[1:4] == _SKIPPABLE_FRAME and packed[0] & 0xF0 == 0x50)


def _read(stream: pa.NativeFile, encoding: str) -> bytes:
    try:
        return bytes(stream.read(_CHUNK_BYTES))
    except OSError as error:
        cut_off = "truncated" in str(error).lower()
        reason = "is cut off" if cut_off else "is broken, or something else follows it"
        raise InvalidParameter(f"invalid request body: the {encoding} data {reason}") from None
