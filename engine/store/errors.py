"""Errors of the store, from the driver's into ours: which of them pass, and what somebody can do about the others.

Owns: which codes of ClickHouse and which errors of the operating system end by themselves, or when somebody has made
room. Such an error is StoreUnavailable: a request is answered 503, and ingest repeats the step.
Source: ClickHouse's ErrorCodes; docs/design.md R8, R22.
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
_OVER_MEMORY = {241: "MEMORY_LIMIT_EXCEEDED", 396: "TOO_MANY_ROWS_OR_BYTES", 307: "TOO_MANY_BYTES"}
_OF_A_LIMIT = frozenset({_TIMEOUT_EXCEEDED, *_OVER_MEMORY})
_PASSING = {
    # The operating system has nothing left to give: descriptors, room on the disk, memory, threads, timers.
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
    # The engine is busy, or has reached a limit of its own.
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
    # It is stopping, was interrupted, or does not take writes at present.
    164: "READONLY",
    236: "ABORTED",
    242: "TABLE_IS_READ_ONLY",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    # What it needs over the network is away.
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
_OF_A_LIBRARY = {1000: "POCO_EXCEPTION", 1001: "STD_EXCEPTION", 1002: "UNKNOWN_EXCEPTION"}  # of any kind
_OUT_OF_RESOURCES = re.compile(
    "too many open files|no space left on device|cannot allocate memory|resource temporarily unavailable"
    "|disk quota exceeded|bad_alloc",
    re.IGNORECASE,
)
_CODE = re.compile(r"\bCode: (\d+)")  # in the words of a handle that could not be opened


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may take; None is no limit of ours. `memory_bytes`: of the engine's memory."""

    seconds: float | None = None
    memory_bytes: int | None = None


NO_LIMITS = Limits()


@contextlib.contextmanager
def our_errors(limits: Limits = NO_LIMITS) -> Iterator[None]:
    """Turn errors of the driver, and of files it writes, into ours. Args: limits: those of the question under way."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if error.code in _OF_A_LIMIT:  # said behind a part of the answer
            raise _of_engine(error, error.code, limits) from error
        raise StoreUnavailable(str(error)) from error
    except Error as error:
        raise _of_engine(error, _code_of(error), limits) from error
    except pa.ArrowException as error:  # an answer that was cut off, or ends in what went wrong
        raise StoreUnavailable(f"the answer cannot be read: {error}") from error
    except OSError as error:  # the driver hands a block to the engine in a file
        raise StoreUnavailable(f"the store cannot be worked with: {error}") from error
    except MemoryError as error:
        raise StoreUnavailable("this process has not enough memory") from error


def _code_of(error: Error) -> int | None:
    """Return the engine's code; of a handle that could not be opened only its words have one."""
    found = _CODE.search(str(error))
    return error.code if error.code is not None or found is None else int(found[1])


def _of_engine(error: Exception, code: int | None, limits: Limits) -> MeterportError:
    words = str(error)
    if limits.seconds is not None and code == _TIMEOUT_EXCEEDED:
        return QueryTimeout(f"the query took longer than {limits.seconds:g} seconds, ask for less")
    if limits.memory_bytes is not None and code in _OVER_MEMORY:
        return QueryOverMemory(
            f"the query needs more than {limits.memory_bytes >> 20} MiB of memory, which is the limit for one now "
            "(query.memory_bytes, store.memory_bytes): ask for a shorter range, larger windows, fewer groups, or with "
            "a filter"
        )
    if code == _MEMORY_LIMIT_EXCEEDED:
        words = (
            "the store has not enough memory for this: store.memory_bytes must be larger, or ingest.batch_bytes and "
            f"ingest.batch_rows smaller, if it goes on: {words}"
        )
    passes = code in _PASSING or (code in _OF_A_LIBRARY and _OUT_OF_RESOURCES.search(words))
    return StoreUnavailable(words) if passes else StoreError(words, code)
