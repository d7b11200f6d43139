"""What may be asked for when a portal token is made, or when tokens are invalidated.

Source: docs/contract.md 1.1, 1.2.
"""

from collections.abc import Sequence
from datetime import datetime

from engine.errors import InvalidRequest
from engine.ids import is_ulid
from engine.instants import Instant, milliseconds
from engine.subjects import key_problem


def check_subject(subject: str) -> None:
    """Refuse a subject no event can carry. Raises: InvalidRequest."""
    if not subject:
        raise InvalidRequest("subject is required")
    problem = key_problem(subject)
    if problem:
        raise InvalidRequest(f"subject {problem}")


def check_slugs(slugs: Sequence[str] | None) -> None:
    """Refuse a list of meters that allows none. Raises: InvalidRequest."""
    if slugs is None:
        return
    if not slugs:
        raise InvalidRequest("slug filter cannot be an empty array when provided")
    if "" in slugs:
        raise InvalidRequest("allowed meter slug cannot be empty")


def check_invalidation(id_: str | None, subject: str | None, issued_before: Instant | None, now: datetime) -> None:
    """Refuse an invalidation that names nothing, or something that no token can have. Raises: InvalidRequest."""
    if issued_before is not None:
        if id_ is not None or subject is not None:
            raise InvalidRequest("issuedBefore is about every token, give it alone")
        if issued_before.ceil_milliseconds > milliseconds(now):
            raise InvalidRequest("issuedBefore must not be in the future")
        return
    if id_ is None and subject is None:
        raise InvalidRequest("either id or subject must be provided")
    if id_ == "":
        raise InvalidRequest("id cannot be empty")
    if subject == "":
        raise InvalidRequest("subject cannot be empty")
    if id_ is not None and not is_ulid(id_):
        raise InvalidRequest("id must be a ULID, as the ids of tokens are")
    if subject is not None:
        check_subject(subject)
