"""How much memory this process may use, and how the embedded engine shares it out.

Owns: the limit of the process (the machine's memory, or what a cgroup of it may use, version 1 or 2), and what follows
from it: how much the engine may take, how much of that one question, and how large a batch of ingest may be.

    the process ─┬─ half: the engine (store.memory_bytes) ─┬─ half: questions, one with most (query.memory_bytes)
                 │                                         └─ half: inserts, merges, fills, caches
                 └─ half: Python: batches, requests and answers; the programs themselves

The engine counts only what it allocates itself, so Python has a share of its own. Questions are limited one by one, so
that all of them together leave room for an insert: the engine does not choose whom it refuses memory. Most questions
need little. So each is asked with a small limit first; one that needs more is asked again, alone, with the large one.
Source: docs/design.md R22; measurements there.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.config.settings import IngestSettings, Settings

HANDLES_FOR_INGEST = 2  # of store.handles: the others answer questions
_LEAST_ENGINE = 256 << 20
_LEAST_QUESTION = 16 << 20
_LIMIT_FILES = ("memory.max", "memory.high", "memory.limit_in_bytes")
_MOUNT = re.compile(r"\S+ \S+ \S+ (?P<root>\S+) (?P<point>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class QuestionMemory:
    """Bytes of the engine's memory a question may take: `first`, or, asked again alone, `most`; `answer`: its rows."""

    first: int
    most: int
    answer: int

    def settings(self, bytes_: int) -> dict[str, int]:
        """Return what a question is sent with to take so many bytes; the one that is alone may group on disk too."""
        limits = {"max_memory_usage": bytes_, "max_result_bytes": self.answer}
        if bytes_ == self.first < self.most:
            return {**limits, "max_bytes_before_external_group_by": 0, "max_bytes_before_external_sort": 0}
        return {
            **limits,
            "max_bytes_before_external_group_by": bytes_ // 2,
            "max_bytes_before_external_sort": bytes_ // 2,
            "max_temporary_data_on_disk_size_for_query": 16 * bytes_,
        }


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Who may take how much, in bytes: the engine as a whole, and of that a question."""

    engine: int
    question: QuestionMemory

    @property
    def batch_bytes(self) -> int:
        """Bytes of records in one batch of ingest at most: with five meters an insert takes seven times as many."""
        return self.engine // 32

    @property
    def batch_rows(self) -> int:
        """Records in one batch of ingest at most: each may become a row of every table of every meter."""
        return self.engine >> 14

    @property
    def server_settings(self) -> dict[str, int]:
        """What the engine is opened with."""
        return {
            "max_server_memory_usage": self.engine,
            # Its own memory alone: it reads the wrong cgroup where version 1 is mounted from the root.
            "memory_worker_use_cgroup": 0,
            "mark_cache_size": self.engine // 16,
            "index_mark_cache_size": self.engine // 64,
            "primary_index_cache_size": self.engine // 64,
            "query_condition_cache_size": self.engine // 64,
            "compiled_expression_cache_size": self.engine // 16,
        }


def memory_plan(settings: Settings, limit: int | None = None) -> MemoryPlan:
    """Return who may take how much of the embedded engine. Args: limit: of the process; None: it is looked up."""
    process = process_limit() if limit is None else limit
    engine = settings.store.memory_bytes or max(_LEAST_ENGINE, process // 2)
    others = max(1, settings.store.handles - HANDLES_FOR_INGEST - 1)  # that ask beside the one with most
    questions = engine // 2
    first = max(_LEAST_QUESTION, questions // 3 // others)
    most = settings.query.memory_bytes or max(first, questions - others * first)
    return MemoryPlan(engine, QuestionMemory(min(first, most), most, engine // 8))


def fitting_batches(settings: Settings) -> IngestSettings:
    """Return how ingest reads, with batches that the embedded engine has the memory to insert."""
    ingest = settings.ingest
    if settings.store.url is not None:
        return ingest
    plan = memory_plan(settings)
    fitting = {
        "batch_bytes": min(ingest.batch_bytes, plan.batch_bytes),
        "batch_rows": min(ingest.batch_rows, plan.batch_rows),
    }
    return ingest.model_copy(update=fitting)


def process_limit(root: Path = Path("/")) -> int:
    """Return how many bytes this process may use: the machine's memory, or less where a cgroup of it says so.

    Args: root: where /proc and /sys are looked for.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(root)])


def _cgroup_limits(root: Path) -> Iterator[int]:
    """Return each limit of this process's own cgroups and of those above them."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return  # no Linux, or no /proc
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        for mount in filter(None, map(_MOUNT.match, mounts)):
            if mount["kind"] == ("cgroup" if controllers else "cgroup2") and (
                not controllers or "memory" in mount["options"].split(",")
            ):
                yield from _limits_up_to(root, _unescaped(mount["point"]), _below(path, _unescaped(mount["root"])))


def _below(path: str, mounted: str) -> PurePosixPath:
    """Return where a cgroup is below the mount point; the mount point itself where it is not of what is mounted."""
    try:
        below = PurePosixPath(path).relative_to(mounted)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in below.parts else below


def _limits_up_to(root: Path, point: str, below: PurePosixPath) -> Iterator[int]:
    for group in [below, *below.parents]:
        for name in _LIMIT_FILES:
            try:
                text = (root / point.lstrip("/") / group / name).read_text().strip()
            except OSError:
                continue  # the root of version 2 has no such file
            if text.isdigit() and int(text) > 0:  # otherwise it is `max`
                yield int(text)


def _unescaped(field: str) -> str:
    r"""Return a path of mountinfo, where a space is written \040."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)
