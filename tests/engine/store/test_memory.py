"""Memory: how much this process may use, and that the embedded ClickHouse and its queries keep to their shares."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from engine.config.loading import load_settings
from engine.store.memory import fit_batches, memory_budget, process_limit
from engine.store.opening import open_store
from tests.harness.clickhouse import ClickHouseServer, server_settings
from tests.harness.services import Unavailable, available_or_skip

pytestmark = pytest.mark.thorough

MIB = 1 << 20
V2 = "30 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
OTHER_V1 = "33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return a directory that replaces the root directory, with the kernel's files about this process."""
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def say(machine: Path, groups: str, mounts: str, **limits: str) -> None:
    """Write the kernel's files. `limits`: the text by file name, with `__` for each `/` and `_` for each dot."""
    (machine / "proc/self/cgroup").write_text(groups)
    (machine / "proc/self/mountinfo").write_text(mounts)
    for name, text in limits.items():
        *folders, file = name.split("__")
        path = machine.joinpath("sys/fs/cgroup", *folders, file.replace("memory_", "memory.", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


# --- the limit of the process -----------------------------------------------------------------------------------------


def test_the_limit_of_a_cgroup_of_version_2_is_the_process_s(machine: Path) -> None:
    """N19."""
    say(machine, "0::/app.slice/mp.service\n", V2, **{"app.slice__mp.service__memory_max": str(700 * MIB)})

    assert process_limit(machine) == 700 * MIB


def test_a_smaller_limit_of_a_cgroup_above_counts_and_max_does_not(machine: Path) -> None:
    """N19."""
    say(
        machine,
        "0::/pod/app\n",
        V2,
        pod__memory_max=str(500 * MIB),
        pod__app__memory_max="max",
        pod__app__memory_high="max",
    )

    assert process_limit(machine) == 500 * MIB


def test_memory_high_is_a_limit_too(machine: Path) -> None:
    """N19: above it the kernel slows down a process until it stops."""
    say(machine, "0::/app\n", V2, app__memory_max=str(900 * MIB), app__memory_high=str(600 * MIB))

    assert process_limit(machine) == 600 * MIB


def test_a_container_sees_its_own_cgroup_at_the_mount_point(machine: Path) -> None:
    """N19: in its own namespace the path is /. Seen from another namespace it may lead upwards."""
    for groups in ("0::/\n", "0::/../../other\n"):
        say(machine, groups, V2, memory_max=str(400 * MIB))

        assert process_limit(machine) == 400 * MIB


def test_version_1_is_read_where_the_memory_controller_is_mounted(machine: Path) -> None:
    """N19: a machine may have both versions. The memory controller belongs to one of them."""
    say(
        machine,
        "9:name=systemd:/a\n4:memory:/pod/app\n2:cpu,cpuacct:/\n0::/\n",
        f"{OTHER_V1}\n{V1}\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        memory__memory_limit_in_bytes="9223372036854771712",
        memory__pod__memory_limit_in_bytes=str(300 * MIB),
        memory__pod__app__memory_limit_in_bytes=str(350 * MIB),
    )

    assert process_limit(machine) == 300 * MIB


def test_a_container_of_version_1_has_its_own_cgroup_mounted(machine: Path) -> None:
    """N19: the path and the root of the mount are those of the host. A space in a path is escaped."""
    mount = r"35 31 0:32 /docker/a\040b /sys/fs/cgroup/memory ro shared:9 - cgroup cgroup rw,memory"
    say(machine, "4:memory:/docker/a b\n", mount, memory__memory_limit_in_bytes=str(256 * MIB))

    assert process_limit(machine) == 256 * MIB


@pytest.mark.parametrize("groups", ["0::/a\n", "4:memory:/a\n", ""])
def test_without_a_limit_the_machine_s_memory_is_the_limit(machine: Path, groups: str) -> None:
    say(machine, groups, f"{V2}\n{V1}\n", a__memory_max="max", memory__a__memory_limit_in_bytes="9223372036854771712")

    assert process_limit(machine) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_machine_that_says_nothing_of_cgroups_has_its_memory(tmp_path: Path) -> None:
    assert process_limit(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_real_cgroup_limits_what_is_planned() -> None:
    """N19: this test reads the real files of the kernel."""
    with available_or_skip(lambda: real_cgroup(300 * MIB)) as procs:
        said = subprocess.run(
            ["/bin/sh", "-c", f'echo $$ > {procs}; exec "$0" -c "$1"', sys.executable, PRINT_LIMIT],
            check=True,
            capture_output=True,
            text=True,
        )

    assert said.stdout.split() == [str(300 * MIB)]


PRINT_LIMIT = "from engine.store.memory import process_limit; print(process_limit())"


@contextmanager
def _cgroup(folder: Path) -> Iterator[Path]:
    try:
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


def real_cgroup(limit: int) -> AbstractContextManager[Path]:
    """Create a cgroup with a limit until the context ends. Yield the file to enter it. Raises: Unavailable."""
    name = f"meterport-test-{os.getpid()}"
    for above, file in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        folder = above / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / file).write_text(str(limit))
        except OSError:
            folder.rmdir()
        else:
            return _cgroup(folder)
    raise Unavailable("this machine lets nobody here make a cgroup with a limit of memory")


# --- the shares -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mebibytes", [512, 1024, 4096, 65536])
@pytest.mark.parametrize("handles", [3, 4, 6, 64])
def test_all_questions_at_a_time_leave_room_for_inserts(mebibytes: int, handles: int) -> None:
    """N19: one query has the large limit and the others the small one. Beside them an insert has enough memory."""
    budget = memory_budget(load_settings(overrides={"store": {"handles": handles}}), limit=mebibytes * MIB)

    assert budget.store <= max(256 * MIB, mebibytes * MIB // 2)
    if budget.query.small > 16 * MIB:  # not the minimum
        assert budget.query.large + max(0, handles - 3) * budget.query.small <= budget.store // 2
    assert budget.batch_bytes * 8 <= budget.store // 2


def test_what_the_settings_say_is_taken() -> None:
    given = {"store": {"memory_bytes": 300 * MIB}, "query": {"memory_bytes": 50 * MIB}}

    budget = memory_budget(load_settings(overrides=given), limit=1024 * MIB)

    assert (budget.store, budget.query.large) == (300 * MIB, 50 * MIB)
    assert budget.query.small <= 50 * MIB


def test_batches_fit_into_the_engine_s_memory(tmp_path: Path) -> None:
    """N19: an insert that can never fit would be retried for ever."""
    small = load_settings(overrides={"data_dir": tmp_path, "store": {"memory_bytes": 256 * MIB}})
    large = load_settings(overrides={"data_dir": tmp_path, "store": {"memory_bytes": 4096 * MIB}})

    assert fit_batches(small).batch_bytes == 8 * MIB
    assert fit_batches(large) == large.ingest
    assert fit_batches(small).batch_rows == 16_384


# --- the engine -------------------------------------------------------------------------------------------------------

IN_A_SMALL_ENGINE = """
import sys, threading
from engine.instants import milliseconds, utc_now
from engine.errors import QueryOverMemory
from engine.events.event import Event, event_block, event_key
from engine.store.migrations import migrate
from engine.config.loading import load_settings
from engine.store.opening import open_store

settings = load_settings(overrides={"data_dir": sys.argv[1], "store": {"memory_bytes": 256 << 20}})
store = open_store(settings)
migrate(store, settings)
asked = store.with_timeout(600)
print(store.rows("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'")[0][0])
query_limit = int(asked.rows("SELECT getSetting('max_memory_usage')")[0][0])
assert 0 < query_limit <= 256 << 17, "without a limit of its own one query takes what others need"

# more than the first limit, and alone there is enough
print(asked.rows("SELECT uniqExact(number) FROM numbers(600000) SETTINGS max_threads = 1")[0][0])

# more than an answer may have
try:
    asked.query_bytes("SELECT repeat('x', 1000) FROM numbers(60000)", "TSV", {})
except QueryOverMemory as error:
    print(error)

GREEDY = "SELECT length(groupArray(toString(number))) FROM numbers(30000000)"
ended, stop = [], threading.Event()

def greedy():
    while not stop.is_set():
        for ask in (asked.rows, asked.arrow, lambda statement: asked.query_bytes(statement, "TSV", {})):
            try:
                ask(GREEDY)
            except QueryOverMemory as error:
                ended.append(str(error))

threads = [threading.Thread(target=greedy) for _ in range(4)]
for thread in threads:
    thread.start()
now_ms = milliseconds(utc_now())
for block in range(10):
    ids = [f"{block}-{number}" for number in range(10000)]
    events = [Event(id_, "s", "t", "acme", now_ms, b'{"n":1}', b"", now_ms, 0, block * 10000 + at, event_key("s", id_))
              for at, id_ in enumerate(ids)]
    store.insert_block("events", event_block(events, now_ms), f"block-{block}")
while len(ended) < 8:
    stop.wait(0.05)
stop.set()
for thread in threads:
    thread.join()
print(store.rows("SELECT count() FROM events")[0][0])
print(ended[0])
store.close()
"""


def test_greedy_questions_end_in_an_error_and_inserts_go_on_beside_them(tmp_path: Path) -> None:
    """N19: four threads query more memory than exists, and none of them ends the process or an insert."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_SMALL_ENGINE, str(tmp_path)], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-2000:]
    limit, unique, too_long, stored, refusal = done.stdout.splitlines()
    assert (limit, unique, stored) == (str(256 * MIB), "600000", "100000")
    for words in (too_long, refusal):
        assert words.startswith("the query needs more than ")
    assert "(query.memory_bytes, store.memory_bytes): ask for a shorter range" in refusal


def test_a_server_is_told_what_a_query_may_take(clickhouse_server: ClickHouseServer, data_dir: Path) -> None:
    """N19: with a ClickHouse server, `query.memory_bytes` is sent with each query and with no other statement."""
    asked = "SELECT value FROM system.settings WHERE name = 'max_memory_usage'"
    limited = server_settings(clickhouse_server.url, data_dir, database="limited")
    limited = limited.model_copy(update={"query": limited.query.model_copy(update={"memory_bytes": 64 * MIB})})
    store, free = open_store(limited), open_store(server_settings(clickhouse_server.url, data_dir, database="free"))

    assert store.with_timeout(60).rows(asked) == [(str(64 * MIB),)]
    assert store.rows(asked) == [("0",)]
    assert free.with_timeout(60).rows(asked) == [("0",)]
    store.close()
    free.close()
