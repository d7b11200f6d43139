"""ULIDs: ids of 26 characters that sort by the millisecond of their creation. Source: the ULID specification."""

import re
import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")


def new_ulid() -> str:
    """Return a new ULID: 48 bits of Unix milliseconds and 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -5, -5))


def is_ulid(text: str) -> bool:
    """Return whether a text is a ULID, in upper or lower case."""
    return _ULID.match(text.upper()) is not None
