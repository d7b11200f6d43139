"""Checks of requests to create a portal token, or to invalidate tokens.

Source: docs/contract.md 1.1 and 1.2.
"""

from collections.abc import Sequence
from datetime import datetime

from engine.errors import InvalidRequest
from engine.ids import is_ulid
from engine.instants import Instant, milliseconds
from engine.subjects import key_problem


def check_subject(subject: str) -> None:
    """Check that an event can have this subject. Raises: InvalidRequest."""
    if not subject:
        raise InvalidRequest("subject is required")
    problem = key_problem(subject)
    if problem:
        raise InvalidRequest(f"subject {problem}")


def check_slugs(slugs: Sequence[str] | None) -> None:
    """Check that a list of meters allows at least one, and has no empty slug. Raises: InvalidRequest."""
    if slugs is None:
        return
    if not slugs:
        raise InvalidRequest("slug filter cannot be an empty array when provided")
    if "" in slugs:
        raise InvalidRequest("allowed meter slug cannot be empty")


def check_invalidation(id_: str | None, subject: str | None, issued_before: Instant | None, now: datetime) -> None:
    """Check that an invalidation names tokens, and by values that a token can have. Raises: InvalidRequest."""
    if issued_before is not None:
        if id_ is not None or subject is not None:
            raise InvalidRequest("issuedBefore applies to every token: it cannot be combined with id or subject")
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
        raise InvalidRequest("id must be a ULID, like the ids of all tokens")
    if subject is not None:
        check_subject(subject)
