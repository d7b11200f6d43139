"""`meterport` without some of its guards, for tests that must see the suite fail.

First argument, several separated by commas:
    plan          commits carry no plan
    token         every insert gets a new token
    duplicates    events that were stored before are not dropped
    unresolved    plans that may be stored in part are not run before other events are checked for duplicates
    claims        the claims of other processes that store at the same moment are ignored
"""

import dataclasses
import sys
import uuid
from collections.abc import Sequence
from typing import Any

import meterport
from engine.store.clickhouse import Store
from ingest.claims import BatchClaims, ClaimResult
from ingest.duplicates import Duplicates
from ingest.kafka import planning


def without_plan() -> None:
    assert "to_metadata" in vars(planning)
    vars(planning)["to_metadata"] = lambda _: ""


def without_token() -> None:
    insert = Store.insert_formatted

    def insert_with_new_token(
        self: Store, table: str, body: bytes, format_: str, _: str, columns: Sequence[str] | None = None
    ) -> None:
        insert(self, table, body, format_, uuid.uuid4().hex, columns)

    Store.insert_formatted = insert_with_new_token  # type: ignore[method-assign,assignment]


def without_duplicates() -> None:
    def keep(_: Duplicates, events: Any, __: Any) -> Any:
        return events

    Duplicates.drop = keep  # type: ignore[method-assign,assignment]


def without_unresolved() -> None:
    BatchClaims.covers = lambda *_: True  # type: ignore[method-assign]


def without_claims() -> None:
    _change_claim_result(earlier=[])


def _change_claim_result(**changes: object) -> None:
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
    for guard in sys.argv.pop(1).split(","):
        GUARDS[guard]()
    meterport.main()
