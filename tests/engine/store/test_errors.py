"""Errors of the store: temporary ones are StoreUnavailable, and their callers continue when they are over."""

import subprocess
import sys
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, Error, ProgrammingError, StreamFailureError

from engine.errors import QueryOverMemory, QueryTimeout, StoreError, StoreUnavailable
from engine.store.errors import Limits, translate_errors

WITHOUT_DESCRIPTORS = """
import logging, resource, sys, threading
import pyarrow as pa
from engine.instants import milliseconds, utc_now
from engine.errors import MeterportError
from engine.events.event import Event, event_block, event_key
from engine.store.migrations import migrate
from engine.config.loading import load_settings
from engine.store.opening import open_store
from engine.tokens.portal_tokens import PortalTokens
from ingest.workers import Workers

settings = load_settings(overrides={"data_dir": sys.argv[1]})
store = open_store(settings)
migrate(store, settings)
here = PortalTokens(store.with_own_connection(), ["a-signing-key-of-tests"], settings.portal)
elsewhere = PortalTokens(store, ["a-signing-key-of-tests"], settings.portal)  # as another process would revoke
record, token = here.create("acme", None, None)
now_ms = milliseconds(utc_now())
block = event_block(
    [Event("1", "s", "t", "acme", now_ms, b'{"n":1}', b"", now_ms, 0, 1, event_key("s", "1"))], now_ms
)
asked = store.with_timeout(60)
CALLS = {
    "rows": lambda: asked.rows("SELECT * FROM events"),
    "text": lambda: asked.query_bytes("SELECT * FROM events", "TSV", {}),
    "insert": lambda: store.insert_block("events", block, "block"),
    "create": lambda: here.create("acme", None, None),
    "refresh": here.refresh,
}
CALLS["insert"]()

failed = threading.Event()

class Noted(logging.Handler):
    def emit(self, line):
        if line.getMessage().startswith("worker_failed name=revocations"):
            failed.set()

logging.getLogger("ingest.workers").addHandler(Noted())
workers = Workers()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
workers.repeat("revocations", here.refresh, 0.05)
met = {}
for name, call in CALLS.items():
    try:
        call()
    except BaseException as error:
        met[name] = type(error).__name__
assert failed.wait(60), "the refresh of revocations met no error"
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

elsewhere.invalidate(record.id, None)
for _ in range(2400):
    try:
        here.verify(token)
    except MeterportError:
        break
    workers.stop.wait(0.025)
else:
    met["revocation"] = "never seen"
workers.join(10)
for call in CALLS.values():
    call()
print(sorted(met.items()))
print(workers.failure, store.rows("SELECT count() FROM events")[0][0])
store.close()
"""


def test_a_process_out_of_descriptors_waits_and_goes_on(tmp_path: Path) -> None:
    """S2: every call is StoreUnavailable, also for a block in a file for the driver. Then revocations are reread."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS, str(tmp_path)], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-2000:]
    met, after = done.stdout.splitlines()
    assert met == str([(name, "StoreUnavailable") for name in ("create", "insert", "refresh", "rows", "text")])
    assert after == "None 1"


def raised(error: Exception, limits: Limits | None = None) -> Exception:
    wanted = (StoreUnavailable, StoreError, QueryTimeout, QueryOverMemory)
    with pytest.raises(wanted) as found, translate_errors(limits or Limits()):
        raise error
    return found.value


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (460, "Failed to create thread timer. (CANNOT_CREATE_TIMER)"),
        (76, "Cannot open file /d, errno: 24, strerror: Too many open files. (CANNOT_OPEN_FILE)"),
        (75, "Cannot write to file, errno: 28, strerror: No space left on device"),
        (439, "Cannot schedule a task: no free thread"),
        (241, "(total) memory limit exceeded"),
        (1001, "std::exception. Code: 1001, filesystem error: in open: Too many open files"),
        (745, "CPU is overloaded"),
    ],
)
def test_what_ends_when_somebody_has_made_room_is_unavailable(code: int, words: str) -> None:
    """S2."""
    assert isinstance(raised(DatabaseError(f"Code: {code}. DB::Exception: {words}", code=code)), StoreUnavailable)


@pytest.mark.parametrize(("code", "words"), [(60, "UNKNOWN_TABLE"), (1001, "std::out_of_range"), (62, "SYNTAX_ERROR")])
def test_what_stays_wrong_is_an_error_with_its_code(code: int, words: str) -> None:
    error = raised(DatabaseError(f"Code: {code}. DB::Exception: {words}", code=code))

    assert isinstance(error, StoreError)
    assert error.clickhouse_code == code


@pytest.mark.parametrize(("status", "kind"), [(500, StoreUnavailable), (502, StoreUnavailable), (404, StoreError)])
def test_a_proxy_that_does_not_reach_the_server_means_that_it_is_unavailable(status: int, kind: type) -> None:
    """Like S2: nothing of ClickHouse answered, so there is no code."""
    error = raised(DatabaseError(f"HTTP driver received HTTP status {status}, server response: Bad Gateway"))

    assert type(error) is kind


def test_a_handle_that_cannot_be_opened_for_want_of_descriptors_is_unavailable() -> None:
    """S2: the driver gives no error code for it, only a message."""
    words = "Unable to open the chdb engine at '/d': Code: 460. DB::Exception: Failed to create thread timer"

    assert isinstance(raised(ProgrammingError(words)), StoreUnavailable)


def test_a_file_that_the_driver_cannot_write_is_unavailable() -> None:
    """Like S2."""
    assert isinstance(raised(OSError(24, "Too many open files")), StoreUnavailable)


def test_memory_that_an_insert_lacks_names_the_settings_that_help() -> None:
    """N19: it is retried for ever, so the log must say what to do."""
    error = raised(DatabaseError("Code: 241. DB::Exception: (total) memory limit exceeded", code=241))

    assert "raise store.memory_bytes, or lower ingest.batch_bytes and ingest.batch_rows" in str(error)


@pytest.mark.parametrize("code", [241, 396])
@pytest.mark.parametrize("kind", [DatabaseError, StreamFailureError], ids=["at once", "behind a part of the answer"])
def test_a_question_over_its_memory_says_what_to_ask_instead(kind: type[Error], code: int) -> None:
    """N19."""
    error = raised(kind(f"Code: {code}. DB::Exception: exceeded", code=code), Limits(30, 64 << 20))

    assert isinstance(error, QueryOverMemory)
    assert str(error).startswith("the query needs more than 64 MiB of memory")
