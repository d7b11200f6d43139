"""`meterport ingest` without one of its guards, or with another clock, for tests that must see the suite fail.

First argument:
    plan          commits carry no plan
    token         every insert gets a new token
    duplicates    events that were stored before are not dropped
    unresolved    plans that may be stored in part are not run before other events are checked for duplicates
    claims        the claims of other processes that store at the same moment are ignored
    clock:N       no guard is removed, but the clock of the process is N seconds ahead
"""

import dataclasses
import sys
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import engine.instants


def shift_clock(seconds: float) -> None:
    """Shift the clock. This must happen before any other module imports it."""
    true_now = engine.instants.utc_now
    engine.instants.utc_now = lambda: true_now() + timedelta(seconds=seconds)


def without_plan() -> None:
    from ingest.kafka import planning  # noqa: PLC0415 - imported after the clock is shifted, like all that follow

    assert "to_metadata" in vars(planning)
    vars(planning)["to_metadata"] = lambda _: ""


def without_token() -> None:
    from engine.store.clickhouse import Store  # noqa: PLC0415

    insert = Store.insert_formatted

    def insert_with_new_token(
        self: Store, table: str, body: bytes, format_: str, _: str, columns: Sequence[str] | None = None
    ) -> None:
        insert(self, table, body, format_, uuid.uuid4().hex, columns)

    Store.insert_formatted = insert_with_new_token  # type: ignore[method-assign,assignment]


def without_duplicates() -> None:
    from ingest.duplicates import Duplicates  # noqa: PLC0415

    def keep(_: Duplicates, events: Any, __: Any) -> Any:
        return events

    Duplicates.drop = keep  # type: ignore[method-assign,assignment]


def without_unresolved() -> None:
    from ingest.claims import BatchClaims  # noqa: PLC0415

    BatchClaims.covers = lambda *_: True  # type: ignore[method-assign]


def without_claims() -> None:
    _change_claim_result(earlier=[])


def _change_claim_result(**changes: object) -> None:
    from ingest.claims import BatchClaims, ClaimResult  # noqa: PLC0415

    claim = BatchClaims.claim

    def changed_claim(self: BatchClaims, *arguments: Any) -> ClaimResult:
        return dataclasses.replace(claim(self, *arguments), **changes)  # type: ignore[arg-type]

    BatchClaims.claim = changed_claim  # type: ignore[assignment]


GUARDS = {
    "plan": without_plan,
    "token": without_token,
    "duplicates": without_duplicates,
    "claims": without_claims,
    "unresolved": without_unresolved,
}

if __name__ == "__main__":
    for what in sys.argv.pop(1).split(","):
        guard, _, number = what.partition(":")
        shift_clock(float(number)) if guard == "clock" else GUARDS[guard]()
    import meterport

    meterport.main()
