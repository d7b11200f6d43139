"""During an attack other clients are served, events are counted once, and the server reports that it is ready.

This attack is short and has no memory limit. `python -m tests.attack` attacks for ten minutes in 1 GiB, and prints the
table of docs/reliability.md.
"""

from pathlib import Path

from tests.attack.__main__ import run_attack


def test_usage_stays_exact_and_others_are_served_while_clients_attack(tmp_path: Path) -> None:
    outcome = run_attack(
        tmp_path, seconds=6, quiet_seconds=2, rate=100, values=20_000, memory_bytes=0, idle_connections=100
    )
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.accepted > 0
    for phase in outcome.phases:
        assert set(phase.health) == {"200"}, phase.name
        assert not phase.dashboard.failures, phase.name
        assert not phase.revoker.failures, phase.name
        assert phase.dashboard.milliseconds, phase.name
