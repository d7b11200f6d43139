"""Repair of the deduplication logs of an embedded ClickHouse (chDB) after a crash.

ClickHouse writes a block's token to the table's deduplication log and *then* renames its part into place. A process
that is killed between the two steps (they are microseconds apart, but it happens) leaves a token without its part. The
table then skips the retry of the insert, and the usage is lost. Before chDB opens the directory, this module removes
every log record whose block has no part, so that the retry completes the table. Replicated tables do not need this:
Keeper commits the token and the part at once.
Source: observed with strace on ClickHouse 26.9; docs/design.md R5a: the token without its part.
"""

import logging
import os
import re
from pathlib import Path

logger = logging.getLogger(__name__)
_PART = re.compile(r"(?P<partition>[^_]+)_(?P<first>\d+)_(?P<last>\d+)_(?P<level>\d+)(?:_\d+)?\Z")
_ADD = "1"  # The operation of a log record that adds a token.


def repair_deduplication_logs(store: Path) -> list[str]:
    """Remove the records without a part from every deduplication log in a chDB directory that is not open.

    Returns: the removed records, as `<table directory>: <part>`; empty after a clean stop.
    """
    removed = []
    for directory in sorted(store.glob("store/*/*/deduplication_logs")):
        blocks = _PartBlocks(directory.parent)
        for log in sorted(directory.glob("deduplication_log_*.txt")):
            lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
            lost = [line for line in lines if _is_lost(line, blocks)]
            if lost:
                _replace(log, "".join(line for line in lines if line not in lost), store.with_name("mend.tmp"))
                removed += [f"{directory.parent.name}: {''.join(line.split()[1:2]) or 'cut off'}" for line in lost]
    for record in removed:
        logger.warning("deduplication_record_without_part_removed table_and_part=%s", record)
    return removed


class _PartBlocks:
    """The block numbers that the parts in a table's directory contain, by partition of the table.

    Several inserts can write to one table at the same time (a batch and a meter's fill), so the block that a crash lost
    is not always the newest one. Each record is therefore compared with the blocks in the parts.
    """

    def __init__(self, table: Path) -> None:
        self._spans: dict[str, list[tuple[int, int]]] = {}
        for entry in table.iterdir():
            part = _PART.match(entry.name)
            if part:
                self._spans.setdefault(part["partition"], []).append((int(part["first"]), int(part["last"])))

    def contain(self, part: re.Match[str]) -> bool:
        """Return whether a part, or a part that it was merged into, is in place."""
        first, last = int(part["first"]), int(part["last"])
        return any(start <= first and last <= end for start, end in self._spans.get(part["partition"], ()))


def _is_lost(line: str, blocks: _PartBlocks) -> bool:
    fields = line.split("\t")
    if len(fields) != 3 or not line.endswith("\n"):
        return True  # The crash cut this record off.
    part = _PART.match(fields[1])
    return fields[0] == _ADD and part is not None and not blocks.contain(part)


def _replace(log: Path, text: str, new: Path) -> None:
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(log)
