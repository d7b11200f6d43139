"""The order in which the workers of a full run get the tests."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.sharing import LONG_FILES, LONGEST_FILES, TESTS, TOGETHER_FILE, WAITING_FILES, share_out


@dataclass(frozen=True)
class Item:
    path: Path
    number: int

    @property
    def file(self) -> str:
        return self.path.relative_to(TESTS).as_posix()


def items_of(*files: str, each: int = 3) -> list[Item]:
    return [Item(TESTS / file, number) for file in files for number in range(each)]


ITEMS = [
    *items_of("api/test_events.py", "clients/test_go.py"),
    *items_of("engine/test_subjects.py", "engine/usage/test_zones.py", each=60),
    *items_of("ingest/kafka/test_gaps.py"),
    *items_of(*LONGEST_FILES, *WAITING_FILES, *LONG_FILES, TOGETHER_FILE, "portal/test_page.py", "portal/test_zone.py"),
    *items_of("oracle/test_groups.py", each=60),
]


def runs(workers: int) -> list[list[Item]]:
    """Return the tests of each worker as xdist gives them out at first."""
    ordered = share_out(ITEMS, workers)
    given: list[list[Item]] = []
    for number in range(workers):
        size = len(ordered) // (workers - number)
        given.append(ordered[:size])
        ordered = ordered[size:]
    return given


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 8, 60])
def test_each_test_is_given_to_one_worker(workers: int) -> None:
    assert sorted(share_out(ITEMS, workers), key=ITEMS.index) == ITEMS


@pytest.mark.parametrize("workers", [4, 5])
def test_the_first_workers_wait_and_the_last_two_compute(workers: int) -> None:
    *waiting, one, other = [[test.file for test in run] for run in runs(workers)]

    assert {run[0] for run in waiting} == {"test_chaos.py"}
    assert {one[0], other[0]} <= {*LONG_FILES}
    assert not {*LONGEST_FILES, *WAITING_FILES, "ingest/kafka/test_gaps.py"}.intersection([*one, *other])
    assert {file.partition("/")[0] for run in waiting for file in run} <= {
        *("test_chaos.py", "test_crash.py", "test_broker.py", "test_health.py", "ingest", "engine", "oracle"),
    }


def test_what_is_left_for_the_end_needs_no_process() -> None:
    assert {run[-1].file.partition("/")[0] for run in runs(4)} <= {"engine", "oracle"}


def test_the_examples_are_for_one_worker() -> None:
    assert sum(any(test.file == TOGETHER_FILE for test in run) for run in runs(4)) == 1


def test_each_file_exists() -> None:
    assert [
        name for name in (*LONGEST_FILES, *WAITING_FILES, *LONG_FILES, TOGETHER_FILE) if not (TESTS / name).is_file()
    ] == []
