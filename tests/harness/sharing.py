"""How the workers of a full run share the tests out: who begins with which tests, and which are left for the end.

Owns: the order of the tests. xdist gives each worker a run of tests that follow each other, all runs of the same
length. A worker that has done its run takes tests from the end of another one's.
Two workers get the tests that compute, the browser's among them, and the others those that wait for seconds again and
again. So the cores are busy during the whole run, and not by more than they can do. Each run ends with tests that need
nothing but the engine: whoever takes them has nothing to start first, and none is long.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

TESTS = Path(__file__).resolve().parent.parent
COMPUTING_WORKERS = 2
# The tests that wait the longest, as the workers share them out one by one: all of the first file first.
LONGEST_FILES = ("test_chaos.py", "test_crash.py", "ingest/kafka/test_outages.py")
# The others that wait: they have a broker. Each file is for one worker, or two. Most of the folders share one broker.
WAITING_FOLDERS = ("ingest/kafka/", "doctor/", "tracing/")
WAITING_FILES = (
    "ingest/test_exchanged_stores.py",
    "ingest/test_stored_positions.py",
    "ingest/test_dead_letter_topic.py",
    "ingest/test_partitions_held.py",
    "test_broker.py",
    "test_health.py",
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
    longest = [item for name in LONGEST_FILES for item in items if names[item] == name]
    together = [item for item in items if names[item] == TOGETHER_FILE]
    long = [item for name in LONG_FILES for item in items if names[item] == name]
    placed = {*longest, *together, *long}
    left = [item for item in items if item not in placed]
    waiting = [item for item in left if names[item] in WAITING_FILES]
    waiting += [item for item in left if names[item].startswith(WAITING_FOLDERS)]
    browser = [item for item in left if names[item].startswith(f"{BROWSER_FOLDER}/")]
    quick = [item for item in left if names[item].partition("/")[0] in QUICK_FOLDERS]
    placed |= {*waiting, *browser, *quick}
    others = [item for item in left if item not in placed]

    begins = [
        [*longest[number::waiting_workers], *part] for number, part in enumerate(_parts(waiting, waiting_workers))
    ]
    begins += [
        [*long[number::COMPUTING_WORKERS], *([] if number else together), *pages, *rest]
        for number, (pages, rest) in enumerate(
            zip(_parts(browser, COMPUTING_WORKERS), _parts(others, COMPUTING_WORKERS), strict=True)
        )
    ]
    ordered: list[AnItem] = []
    ends = iter(quick)
    for number, begin in enumerate(begins):
        size = (len(items) - len(ordered)) // (workers - number)
        ordered += [*begin, *islice(ends, max(0, size - len(begin)))]
    return [*ordered, *ends]


def _parts(items: Sequence[AnItem], number: int) -> Iterator[Sequence[AnItem]]:
    """Yield `number` parts that follow each other, all of about the same length."""
    for part in range(number):
        yield items[len(items) * part // number : len(items) * (part + 1) // number]
