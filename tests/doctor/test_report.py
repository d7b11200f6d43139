"""The order of checks: each one runs unless what it needs failed or was skipped, and it says so."""

from engine.errors import StoreUnavailable
from meterport.doctor.report import Check, Fault, Finding, Status, Warn, findings


def _raise(error: Exception) -> str:
    raise error


def test_a_check_is_skipped_if_what_it_needs_found_a_fault_or_was_skipped() -> None:
    ran: list[str] = []

    def note(name: str) -> str:
        ran.append(name)
        return "fine"

    checks = [
        Check("a", lambda: _raise(Fault("broken"))),
        Check("b", lambda: note("b"), ("a",)),
        Check("c", lambda: note("c"), ("b",)),
        Check("d", lambda: _raise(Warn("not good"))),
        Check("e", lambda: note("e"), ("d",)),
        Check("f", lambda: _raise(StoreUnavailable("away"))),
    ]

    assert [*findings(checks)] == [
        Finding(Status.FAULT, "a", "broken"),
        Finding(Status.SKIPPED, "b", "not checked, because `a` failed or was skipped"),
        Finding(Status.SKIPPED, "c", "not checked, because `b` failed or was skipped"),
        Finding(Status.WARNING, "d", "not good"),
        Finding(Status.OK, "e", "fine"),
        Finding(Status.FAULT, "f", "away"),
    ]
    assert ran == ["e"]
