"""What only the in-process engine needs: one process per directory, and deduplication logs that tell the truth.

Owns: the lock on the data directory, and the mending of deduplication logs after a crash.

ClickHouse writes a block's token to the table's deduplication log and *then* renames its part into place. A process
killed between the two (microseconds, but it happens) leaves a token without its part: the retry is skipped there and
the usage is lost. Before the engine opens, every record whose block was never put in place is taken out of the log,
so that the retry completes the table. Replicated tables need none of this: Keeper commits both at once.
Source: seen with strace on ClickHouse 26.9; docs/design.md "The token without its part".
"""

import fcntl
import logging
import os
import re
from pathlib import Path

from engine.errors import ConfigurationError, DataDirectoryInUse

_log = logging.getLogger(__name__)
_PART = re.compile(r"(?P<partition>[^_]+)_(?P<first>\d+)_(?P<last>\d+)_(?P<level>\d+)(?:_\d+)?\Z")
_ADD = "1"


class DirectoryLock:
    """Exclusive use of a data directory until released or the process ends.

    Raises: DataDirectoryInUse: another process has it. ConfigurationError: it cannot be made, or not written to.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds customers' data
            self._file = (directory / "lock").open("a+")
            self._take(directory)
        except FileExistsError:
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


def mend_deduplication_logs(store: Path) -> list[str]:
    """Take records without a part out of every deduplication log below a closed chDB directory.

    Returns: the records taken out, as `<table directory>: <part>`; empty after a clean stop.
    """
    mended = []
    for directory in sorted(store.glob("store/*/*/deduplication_logs")):
        newest = _newest_block(directory.parent)
        for log in sorted(directory.glob("deduplication_log_*.txt")):
            lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if not _lost(line, newest)]
            if kept != lines:
                _replace(log, "".join(kept), store.with_name("mend.tmp"))
                mended += [f"{directory.parent.name}: {line.split()[1]}" for line in lines if _lost(line, newest)]
    for record in mended:
        _log.warning("deduplication_record_without_part_removed table_and_part=%s", record)
    return mended


def _newest_block(table: Path) -> int:
    """Return the highest block number of a table's parts: they count up over all its partitions."""
    parts = (_PART.match(entry.name) for entry in table.iterdir())
    return max((int(part["last"]) for part in parts if part), default=0)


def _lost(line: str, newest: int) -> bool:
    fields = line.split("\t")
    if len(fields) != 3 or not line.endswith("\n"):
        return True  # a record cut off by the crash
    part = _PART.match(fields[1])
    return fields[0] == _ADD and part is not None and int(part["first"]) > newest


def _replace(log: Path, text: str, new: Path) -> None:
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(log)
