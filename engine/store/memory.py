"""How much memory this process may use, and how the embedded ClickHouse (chDB) shares it.

Owns: the memory limit of the process (the machine's memory, or the limit of its cgroups, version 1 or 2), and what
follows from it: how much memory ClickHouse may use, how much of that one query may use, and how large a batch may be.

    the process ─┬─ half: ClickHouse (store.memory_bytes) ─┬─ half: queries, one with most of it (query.memory_bytes)
                 │                                         └─ half: inserts, merges, fills, caches
                 └─ half: Python: batches, requests and answers; the programs themselves

ClickHouse counts only the memory that it allocates itself, so Python has a share of its own. Each query has its own
limit, and all limits together leave enough memory for an insert: ClickHouse's own choice of which query to end when
memory runs out is not used. Most queries need little memory. Each query therefore runs with a small limit first; a
query that needs more runs again with the large limit, and only one at a time may do so.
Source: docs/design.md R22: memory limits, with measurements.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.config.settings import IngestSettings, Settings

HANDLES_FOR_INGEST = 2  # Of store.handles; the other handles run queries.
_MIN_STORE_BYTES = 256 << 20
_MIN_QUERY_BYTES = 16 << 20
_LIMIT_FILES = ("memory.max", "memory.high", "memory.limit_in_bytes")
_MOUNT = re.compile(r"\S+ \S+ \S+ (?P<root>\S+) (?P<point>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)")
_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class QueryMemory:
    """Bytes of ClickHouse's memory that one query may use.

    `small`: the limit of the first run. `large`: the limit of the second run, for one query at a time. `result`: the
    limit of the rows that it returns.
    """

    small: int
    large: int
    result: int

    def settings(self, bytes_: int) -> dict[str, int]:
        """Return the settings of a query with this limit. With the large limit it may also group and sort on disk."""
        limits = {"max_memory_usage": bytes_, "max_result_bytes": self.result}
        if bytes_ == self.small < self.large:
            return {**limits, "max_bytes_before_external_group_by": 0, "max_bytes_before_external_sort": 0}
        return {
            **limits,
            "max_bytes_before_external_group_by": bytes_ // 2,
            "max_bytes_before_external_sort": bytes_ // 2,
            "max_temporary_data_on_disk_size_for_query": 16 * bytes_,
        }


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """How many bytes ClickHouse as a whole may use (`store`), and how many of them one query (`query`)."""

    store: int
    query: QueryMemory

    @property
    def batch_bytes(self) -> int:
        """The largest size of a batch of records in bytes. With five meters an insert uses seven times as many."""
        return self.store // 32

    @property
    def batch_rows(self) -> int:
        """The largest number of records in a batch. Each may become a row in every table of every meter."""
        return self.store >> 14

    @property
    def server_settings(self) -> dict[str, int]:
        """The server settings that chDB is opened with."""
        return {
            "max_server_memory_usage": self.store,
            # Count only ClickHouse's own memory: it reads the wrong cgroup where version 1 is mounted from the root.
            "memory_worker_use_cgroup": 0,
            "mark_cache_size": self.store // 16,
            "index_mark_cache_size": self.store // 64,
            "primary_index_cache_size": self.store // 64,
            "query_condition_cache_size": self.store // 64,
            "compiled_expression_cache_size": self.store // 16,
        }


def memory_budget(settings: Settings, limit: int | None = None) -> MemoryBudget:
    """Return how much memory the embedded ClickHouse and one query in it may use.

    Args: limit: the memory limit of the process in bytes; None: the limit of the machine or of its cgroups.
    """
    process = process_limit() if limit is None else limit
    store = settings.store.memory_bytes or max(_MIN_STORE_BYTES, process // 2)
    # So many queries can run with the small limit beside the one with the large limit.
    others = max(1, settings.store.handles - HANDLES_FOR_INGEST - 1)
    queries = store // 2
    small = max(_MIN_QUERY_BYTES, queries // 3 // others)
    large = settings.query.memory_bytes or max(small, queries - others * small)
    return MemoryBudget(store, QueryMemory(min(small, large), large, store // 8))


def fit_batches(settings: Settings) -> IngestSettings:
    """Return the settings of ingest, with batches small enough for the memory of an embedded ClickHouse."""
    ingest = settings.ingest
    if settings.store.url is not None:
        return ingest
    budget = memory_budget(settings)
    limits = {
        "batch_bytes": min(ingest.batch_bytes, budget.batch_bytes),
        "batch_rows": min(ingest.batch_rows, budget.batch_rows),
    }
    return ingest.model_copy(update=limits)


def process_limit(root: Path = Path("/")) -> int:
    """Return how many bytes of memory this process may use: the machine's memory, or less if a cgroup limits it.

    Args: root: the directory that contains /proc and /sys.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(root)])


def _cgroup_limits(root: Path) -> Iterator[int]:
    """Return every limit, in bytes, of this process's cgroups and of their parents."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return  # This is not Linux, or there is no /proc.
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        for mount in filter(None, map(_MOUNT.match, mounts)):
            if mount["kind"] == ("cgroup" if controllers else "cgroup2") and (
                not controllers or "memory" in mount["options"].split(",")
            ):
                yield from _limits_upwards(
                    root, _unescaped(mount["point"]), _group_path(path, _unescaped(mount["root"]))
                )


def _group_path(path: str, mounted: str) -> PurePosixPath:
    """Return the path of a cgroup relative to the mount point.

    If the mount does not contain the cgroup, the path is that of the mount point itself.
    """
    try:
        relative = PurePosixPath(path).relative_to(mounted)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in relative.parts else relative


def _limits_upwards(root: Path, point: str, lowest: PurePosixPath) -> Iterator[int]:
    """Return the limits, in bytes, of a cgroup and of all its parents up to the mount point."""
    for group in [lowest, *lowest.parents]:
        for name in _LIMIT_FILES:
            try:
                text = (root / point.lstrip("/") / group / name).read_text().strip()
            except OSError:
                continue  # The root of cgroup version 2 has no such file.
            if text.isdigit() and int(text) > 0:  # Otherwise the text is `max`: no limit.
                yield int(text)


def _unescaped(field: str) -> str:
    r"""Return a path of mountinfo without escapes; mountinfo writes a space as \040."""
    return _OCTAL_ESCAPE.sub(lambda found: chr(int(found[1], 8)), field)
