"""`meterport doctor` on a data directory: whether a process can use it. Nothing in it is changed or made."""

import os
from pathlib import Path

from engine.store.data_directory import DirectoryLock
from tests.doctor.runs import Diagnosis, diagnose


def run(directory: Path, **more: str) -> Diagnosis:
    return diagnose({"METERPORT_DATA_DIR": str(directory), **more})


def test_a_directory_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"

    found = run(directory)

    assert (found.status, found.faults(), found.warnings(), found.errors) == (0, {}, {}, "")
    assert found.lines["data directory"] == ("ok", f"{directory} does not exist; the first start creates it")
    assert [*tmp_path.iterdir()] == []


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.touch()

    found = run(path)

    assert (found.status, found.faults()) == (
        1,
        {"data directory": f"data_dir: {path} is not a directory: remove it, or choose another data_dir"},
    )
    assert {*found.skipped()} == {"data directory space", "data directory use"}


def test_a_directory_that_others_can_write_to_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    found = run(tmp_path)

    assert found.faults()["data directory"].startswith(f"data_dir: every user can write to {tmp_path}: run chmod go-w ")
    assert run(tmp_path, METERPORT_TRUST_DATA_DIR="true").status == 0


def test_a_directory_that_cannot_be_made_is_named() -> None:
    """Not even root may write there."""
    assert run(Path("/proc/sys/meterport")).faults()["data directory"] == (
        "data_dir: this process may not write to /proc/sys: give it the right, mount a volume there, or choose "
        "another one"
    )


def test_the_process_that_uses_it_is_named(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)

    used = run(tmp_path)
    lock.release()
    free = run(tmp_path)

    assert (used.status, used.warnings()) == (
        0,
        {
            "data directory use": f"data_dir: the meterport process {os.getpid()} uses it; another one can start only "
            "when that one ends"
        },
    )
    assert free.lines["data directory use"] == ("ok", "no process uses it")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_too_little_space_is_a_warning(tmp_path: Path) -> None:
    found = run(tmp_path, METERPORT_LOG__MAX_BYTES=str(1 << 60))

    assert found.status == 0
    assert found.warnings()["data directory space"].startswith("data_dir: only ")
    assert [*tmp_path.iterdir()] == []


def test_a_secret_is_not_printed_where_a_message_quotes_it(tmp_path: Path) -> None:
    found = run(tmp_path / "sesame-open", METERPORT_API_KEY="sesame-open")

    assert found.lines["data directory"] == (
        "ok",
        f"{tmp_path}/********** does not exist; the first start creates it",
    )
