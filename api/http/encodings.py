"""Content encodings of request bodies: gzip and zstd are unpacked, any other is refused by name.

Owns: the limit of an unpacked body, which holds while it is unpacked: no more than a piece beyond it is ever produced.
Source: docs/contract.md "Requests"; RFC 9110, 8.4 and 15.5.16; RFC 1952 (gzip, one member or several); RFC 8878 (zstd).
"""

import pyarrow as pa
from starlette.requests import Request

from api.http.problems import ACCEPTED_ENCODINGS, InvalidParameter
from engine.errors import TooLarge, UnsupportedEncoding

_BEGINNINGS = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_SKIPPED_FRAME = b"\x2a\x4d\x18"  # behind a first byte of 0x50 to 0x5f: a zstd body may begin with it
_OTHER_NAMES = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3
_PIECE = 1 << 16


def content_encoding(request: Request) -> str:
    """Return how the body is compressed, "" if it is not. Raises: UnsupportedEncoding."""
    sent = ", ".join(request.headers.getlist("content-encoding"))
    names = [name.strip().lower() for name in sent.split(",")]
    names = [_OTHER_NAMES.get(name, name) for name in names if name not in {"", "identity"}]
    if not names:
        return ""
    if len(names) > 1 or names[0] not in _BEGINNINGS:
        raise UnsupportedEncoding(
            f"content encoding {sent[:80]!r} is not supported, send one of: {ACCEPTED_ENCODINGS}, or none"
        )
    return names[0]


def unpack(encoding: str, packed: bytes, limit: int) -> bytes:
    """Return a body unpacked. Raises: InvalidParameter: it is not so encoded, or cut off; TooLarge: over the limit."""
    if not packed:
        raise InvalidParameter(f"invalid request body: the {encoding} data is cut off")
    if not _begins(encoding, packed):
        raise InvalidParameter(f"invalid request body: it is not {encoding}, as its content encoding says")
    pieces, size = [], 0
    with pa.input_stream(pa.BufferReader(packed), compression=encoding) as stream:
        while piece := _read(stream, encoding):
            size += len(piece)
            if size > limit:
                raise TooLarge(f"the unpacked body is longer than {limit} bytes")
            pieces.append(piece)
    return b"".join(pieces)


def _begins(encoding: str, packed: bytes) -> bool:
    """Whether a body begins as it must; zlib's other formats would be unpacked, too."""
    begins = packed.startswith(_BEGINNINGS[encoding][: len(packed)])
    return begins or (encoding == "zstd" and packed[1:4] == _SKIPPED_FRAME and packed[0] & 0xF0 == 0x50)


def _read(stream: pa.NativeFile, encoding: str) -> bytes:
    try:
        return bytes(stream.read(_PIECE))
    except OSError as error:
        cut_off = "truncated" in str(error).lower()
        reason = "is cut off" if cut_off else "is broken, or something else follows it"
        raise InvalidParameter(f"invalid request body: the {encoding} data {reason}") from None
