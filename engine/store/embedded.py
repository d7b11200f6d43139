"""What only the in-process engine needs: one process per directory, and deduplication logs that tell the truth.

Owns: the lock on the data directory, the loading of the engine, and the mending of deduplication logs after a crash.

ClickHouse writes a block's token to the table's deduplication log and *then* renames its part into place. A process
killed between the two (microseconds, but it happens) leaves a token without its part: the retry is skipped there and
the usage is lost. Before the engine opens, every record whose block was never put in place is taken out of the log,
so that the retry completes the table. Replicated tables need none of this: Keeper commits both at once.
Source: seen with strace on ClickHouse 26.9; docs/design.md "The token without its part".
"""

import errno
import fcntl
import importlib
import logging
import os
import re
from pathlib import Path
from typing import TextIO

from engine.config.directories import check_directory, make_private
from engine.errors import ConfigurationError, DataDirectoryInUse

_log = logging.getLogger(__name__)
_PART = re.compile(r"(?P<partition>[^_]+)_(?P<first>\d+)_(?P<last>\d+)_(?P<level>\d+)(?:_\d+)?\Z")
_ADD = "1"


def load_engine() -> None:
    """Load chDB into this process, with UTC for the zone of the host.

    It reads TZ once and does not load where that is no zone it knows, as <+03>-3. No answer depends on it: windows are
    computed in the zone of each query.
    """
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    try:
        importlib.import_module("chdb")
    finally:
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone


class DirectoryLock:
    """Exclusive use of a data directory until released or the process ends.

    Args: trusted: it is used even if others may write it.
    Raises: DataDirectoryInUse: another process has it. ConfigurationError: it cannot be made, or not written to, or
        others could have prepared it.
    """

    def __init__(self, directory: Path, trusted: bool = False) -> None:
        try:
            make_private(directory)  # it holds customers' data
            if not trusted:
                check_directory(directory)
            self._file = _opened(directory / "lock")
            self._take(directory)
        except (FileExistsError, NotADirectoryError):
            raise ConfigurationError(f"data_dir: {directory} is not a directory") from None
        except OSError as error:
            raise ConfigurationError(f"data_dir: cannot use {directory}: {error.strerror}") from None

    def _take(self, directory: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            pid, _, url = self._file.read().partition(" ")
            self._file.close()
            raise DataDirectoryInUse(
                f"{directory} is in use by another meterport process (pid {pid or 'unknown'})", url.strip() or None
            ) from None
        self._say(str(os.getpid()))

    def announce(self, url: str) -> None:
        """Tell whoever finds the directory in use where its process can be asked."""
        self._say(f"{os.getpid()} {url}")

    def _say(self, text: str) -> None:
        self._file.truncate(0)
        self._file.write(text)
        self._file.flush()

    def release(self) -> None:
        """Let another process have the directory."""
        self._file.close()


def _opened(lock: Path) -> TextIO:
    """Open the lock, made if it is missing; a link is not followed, or its target would be written over."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigurationError(f"data_dir: {lock} is a symbolic link: remove it") from None
        raise
    return os.fdopen(descriptor, "a+", encoding="utf-8")


def mend_deduplication_logs(store: Path) -> list[str]:
    """Take records without a part out of every deduplication log below a closed chDB directory.

    Returns: the records taken out, as `<table directory>: <part>`; empty after a clean stop.
    """
    mended = []
    for directory in sorted(store.glob("store/*/*/deduplication_logs")):
        blocks = _PartBlocks(directory.parent)
        for log in sorted(directory.glob("deduplication_log_*.txt")):
            lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
            lost = [line for line in lines if _is_lost(line, blocks)]
            if lost:
                _replace(log, "".join(line for line in lines if line not in lost), store.with_name("mend.tmp"))
                mended += [f"{directory.parent.name}: {''.join(line.split()[1:2]) or 'cut off'}" for line in lost]
    for record in mended:
        _log.warning("deduplication_record_without_part_removed table_and_part=%s", record)
    return mended


class _PartBlocks:
    """The block numbers that the parts in a table's directory hold, by partition of the table.

    Several inserts go into one table at a time (a batch and a meter's fill), so the block that a crash took away need
    not be the newest one: each record is compared with what the parts hold.
    """

    def __init__(self, table: Path) -> None:
        self._spans: dict[str, list[tuple[int, int]]] = {}
        for entry in table.iterdir():
            part = _PART.match(entry.name)
            if part:
                self._spans.setdefault(part["partition"], []).append((int(part["first"]), int(part["last"])))

    def hold(self, part: re.Match[str]) -> bool:
        """Whether a part, or one it was merged into, is in place."""
        first, last = int(part["first"]), int(part["last"])
        return any(start <= first and last <= end for start, end in self._spans.get(part["partition"], ()))


def _is_lost(line: str, blocks: _PartBlocks) -> bool:
    fields = line.split("\t")
    if len(fields) != 3 or not line.endswith("\n"):
        return True  # a record cut off by the crash
    part = _PART.match(fields[1])
    return fields[0] == _ADD and part is not None and not blocks.hold(part)


def _replace(log: Path, text: str, new: Path) -> None:
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(log)
