"""How the workers of a full run share the tests out: who begins with which tests, and which are left for the end.

Owns: the order of the tests. xdist gives each worker a run of tests that follow each other, all runs of the same
length. A worker that has done its run takes tests from the end of another one's.
Two workers begin with tests that compute, the browser's among them, and the others with tests that wait for seconds
again and again, so that the cores are busy and no more than that. Then come the tests that start processes. Each run
ends with tests that need nothing but the engine: whoever takes them has nothing to start first, and none is long.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

TESTS = Path(__file__).resolve().parent.parent
COMPUTING_WORKERS = 2
# The tests that wait the longest, as they are shared out: all of the first file first.
WAITING_FILES = (
    "test_chaos.py",
    "test_crash.py",
    "ingest/kafka/test_outages.py",
    "ingest/kafka/test_shared_topic.py",
    "ingest/kafka/test_records.py",
    "ingest/kafka/test_log.py",
    "ingest/test_exchanged_stores.py",
    "ingest/test_stored_positions.py",
)
TOGETHER_FILE = "portal/test_examples.py"  # for one worker: an example runs once at a time, and others would wait
LONG_FILES = ("test_usage.py", "test_attack.py", "portal/test_translation.py")  # each test computes for half a minute
BROWSER_FOLDER = "portal"  # for few workers: each starts a browser
QUICK_FOLDERS = ("engine", "oracle", "documents")


class Item(Protocol):
    """A test. `path`: its file."""

    @property
    def path(self) -> Path: ...


AnItem = TypeVar("AnItem", bound=Item)


def share_out(items: Sequence[AnItem], workers: int) -> list[AnItem]:
    """Return the tests in the order in which `workers` workers share them out. Up to two take them as they come."""
    waiting_workers = workers - COMPUTING_WORKERS
    if waiting_workers <= 0:
        return list(items)
    names = {item: item.path.relative_to(TESTS).as_posix() for item in items}
    waiting = [item for name in WAITING_FILES for item in items if names[item] == name]
    together = [item for item in items if names[item] == TOGETHER_FILE]
    long = [item for name in LONG_FILES for item in items if names[item] == name]
    placed = {*waiting, *together, *long}
    left = [item for item in items if item not in placed]
    browser = [item for item in left if names[item].startswith(f"{BROWSER_FOLDER}/")]
    quick = [item for item in left if names[item].partition("/")[0] in QUICK_FOLDERS]
    others = [item for item in left if item not in {*browser, *quick}]

    begins = [waiting[number::waiting_workers] for number in range(waiting_workers)]
    begins += [long[number::COMPUTING_WORKERS] for number in range(COMPUTING_WORKERS)]
    begins[-COMPUTING_WORKERS] += together
    for number, part in enumerate(_parts(browser, COMPUTING_WORKERS)):
        begins[number - COMPUTING_WORKERS] += part
    ordered: list[AnItem] = []
    rest = iter(quick)
    for number, (begin, part) in enumerate(zip(begins, _parts(others, workers), strict=True)):
        size = (len(items) - len(ordered)) // (workers - number)
        ordered += [*begin, *part]
        ordered += islice(rest, max(0, size - len(begin) - len(part)))
    return [*ordered, *rest]


def _parts(items: Sequence[AnItem], number: int) -> Iterator[Sequence[AnItem]]:
    """Yield `number` parts that follow each other, all of about the same length."""
    for part in range(number):
        yield items[len(items) * part // number : len(items) * (part + 1) // number]
