"""Translation of the driver's errors into Meterport's: which ones are worth a retry, and what to do about the others.

Owns: the list of ClickHouse codes and operating system errors that are transient: they end without help, or when an
operator frees resources. Such an error becomes StoreUnavailable: a request is answered with 503, and ingest repeats the
step.
Source: ClickHouse's ErrorCodes; docs/design.md R8 (retries of inserts), R22 (memory limits), R22a (transient errors).
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from clickhouse_connect.driver.exceptions import Error, InterfaceError, OperationalError

from engine.errors import MeterportError, QueryOverMemory, QueryTimeout, StoreError, StoreUnavailable

UNKNOWN_TABLE = 60
_TIMEOUT_EXCEEDED = 159
_MEMORY_LIMIT_EXCEEDED = 241
_MEMORY_CODES = {241: "MEMORY_LIMIT_EXCEEDED", 396: "TOO_MANY_ROWS_OR_BYTES", 307: "TOO_MANY_BYTES"}
_LIMIT_CODES = frozenset({_TIMEOUT_EXCEEDED, *_MEMORY_CODES})
_TRANSIENT_CODES = {
    # The operating system has run out of a resource: descriptors, disk space, memory, threads, timers.
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    76: "CANNOT_OPEN_FILE",
    77: "CANNOT_CLOSE_FILE",
    88: "CANNOT_TRUNCATE_FILE",
    172: "CANNOT_CREATE_DIRECTORY",
    173: "CANNOT_ALLOCATE_MEMORY",
    204: "CANNOT_FSYNC",
    214: "CANNOT_STATVFS",
    243: "NOT_ENOUGH_SPACE",
    272: "CANNOT_IO_SUBMIT",
    298: "CANNOT_PIPE",
    400: "CANNOT_STAT",
    402: "CANNOT_IOSETUP",
    411: "PTHREAD_ERROR",
    424: "CANNOT_LINK",
    425: "SYSTEM_ERROR",
    439: "CANNOT_SCHEDULE_TASK",
    460: "CANNOT_CREATE_TIMER",
    461: "CANNOT_SET_TIMER_PERIOD",
    463: "CANNOT_FCNTL",
    531: "CANNOT_FSTAT",
    573: "EPOLL_ERROR",
    586: "CANNOT_CREATE_FILE",
    635: "CANNOT_POLL",
    # ClickHouse is busy, or has reached one of its own limits.
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    241: "MEMORY_LIMIT_EXCEEDED",
    252: "TOO_MANY_PARTS",
    364: "RECEIVED_ERROR_TOO_MANY_REQUESTS",
    384: "PART_IS_TEMPORARILY_LOCKED",
    473: "DEADLOCK_AVOIDED",
    692: "TOO_MANY_MUTATIONS",
    700: "USER_SESSION_LIMIT_EXCEEDED",
    733: "TABLE_IS_BEING_RESTARTED",
    745: "SERVER_OVERLOADED",
    749: "TCP_CONNECTION_LIMIT_REACHED",
    762: "HTTP_CONNECTION_LIMIT_REACHED",
    776: "RESOURCE_LIMIT_EXCEEDED",
    777: "MEMORY_RESERVATION_KILLED",
    778: "MEMORY_RESERVATION_FAILED",
    1019: "QUERY_SLOT_ACQUISITION_TIMEOUT",
    1020: "MEMORY_RESERVATION_ACQUISITION_TIMEOUT",
    # ClickHouse is stopping, was interrupted, or accepts no writes at present.
    164: "READONLY",
    236: "ABORTED",
    242: "TABLE_IS_READ_ONLY",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    # Something that ClickHouse needs over the network cannot be reached.
    95: "CANNOT_READ_FROM_SOCKET",
    96: "CANNOT_WRITE_TO_SOCKET",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    999: "KEEPER_EXCEPTION",
}
# Codes for errors of any kind in a library: only the message says whether they are transient.
_LIBRARY_CODES = {1000: "POCO_EXCEPTION", 1001: "STD_EXCEPTION", 1002: "UNKNOWN_EXCEPTION"}
_OUT_OF_RESOURCES = re.compile(
    "too many open files|no space left on device|cannot allocate memory|resource temporarily unavailable"
    "|disk quota exceeded|bad_alloc",
    re.IGNORECASE,
)
# The driver's words for an answer without a ClickHouse code: it is that of a proxy or of another server. A status from
# 500 on says that the proxy does not reach ClickHouse: nginx answers 502, others 503 or 504.
_FOREIGN_ANSWER = "HTTP driver received HTTP status "
_CODE = re.compile(r"\bCode: (\d+)")  # In the message about a handle that could not be opened.


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one query; None: Meterport sets no limit. `memory_bytes` is memory of ClickHouse."""

    seconds: float | None = None
    memory_bytes: int | None = None


NO_LIMITS = Limits()


@contextlib.contextmanager
def translate_errors(limits: Limits = NO_LIMITS) -> Iterator[None]:
    """Translate errors of the driver, and of files that it writes, into errors of engine/errors.py.

    Args: limits: the limits of the running query, for the messages about them.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if error.code in _LIMIT_CODES:  # The error came after a part of the answer.
            raise _clickhouse_error(error, error.code, limits) from error
        raise StoreUnavailable(str(error)) from error
    except Error as error:
        raise _clickhouse_error(error, _error_code(error), limits) from error
    except pa.ArrowException as error:  # The answer was cut off, or an error message ends it.
        raise StoreUnavailable(f"the answer cannot be read: {error}") from error
    except OSError as error:  # The driver passes a block to chDB in a file.
        raise StoreUnavailable(f"the store cannot be used: {error}") from error
    except MemoryError as error:
        raise StoreUnavailable("this process does not have enough memory") from error


def _error_code(error: Error) -> int | None:
    """Return ClickHouse's error code. If a handle could not be opened, only the message contains it."""
    found = _CODE.search(str(error))
    return error.code if error.code is not None or found is None else int(found[1])


def _clickhouse_error(error: Exception, code: int | None, limits: Limits) -> MeterportError:
    """Return Meterport's error for an error that ClickHouse reported."""
    message = str(error)
    if limits.seconds is not None and code == _TIMEOUT_EXCEEDED:
        return QueryTimeout(f"the query took longer than {limits.seconds:g} seconds, ask for less")
    if limits.memory_bytes is not None and code in _MEMORY_CODES:
        return QueryOverMemory(
            f"the query needs more than {limits.memory_bytes >> 20} MiB of memory, the current limit for one query "
            "(query.memory_bytes, store.memory_bytes): ask for a shorter range, larger windows, fewer groups, or with "
            "a filter"
        )
    if code == _MEMORY_LIMIT_EXCEEDED:
        message = (
            "the store does not have enough memory for this; if it happens again, raise store.memory_bytes, or lower "
            f"ingest.batch_bytes and ingest.batch_rows: {message}"
        )
    transient = (
        code in _TRANSIENT_CODES
        or (code in _LIBRARY_CODES and _OUT_OF_RESOURCES.search(message))
        or (code is None and message.startswith(f"{_FOREIGN_ANSWER}5"))
    )
    return StoreUnavailable(message) if transient else StoreError(message, code)


def is_foreign(error: StoreError) -> bool:
    """Return whether it is an answer of something else than ClickHouse."""
    return error.clickhouse_code is None and str(error).startswith(_FOREIGN_ANSWER)
