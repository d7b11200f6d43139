"""What only the in-process engine needs: one process per directory, and deduplication logs that tell the truth.

Owns: the lock on the data directory, the loading of the engine, and the mending of deduplication logs after a crash.

ClickHouse writes a block's token to the table's deduplication log and *then* renames its part into place. A process
killed between the two (microseconds, but it happens) leaves a token without its part: the retry is skipped there and
the usage is lost. Before the engine opens, every record whose block was never put in place is taken out of the log,
so that the retry completes the table. Replicated tables need none of this: Keeper commits both at once.
Source: seen with strace on ClickHouse 26.9; docs/design.md "The token without its part".
"""

import logging
import os
import re
from pathlib import Path

logger = logging.getLogger(__name__)
_PART = re.compile(r"(?P<partition>[^_]+)_(?P<first>\d+)_(?P<last>\d+)_(?P<level>\d+)(?:_\d+)?\Z")
_ADD = "1"


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
        logger.warning("deduplication_record_without_part_removed table_and_part=%s", record)
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
