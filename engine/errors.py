"""The errors that Meterport's packages share, and what the code that catches them must do.

    MeterportError
    ├── Refused                 do not retry: the request itself is wrong
    │   ├── InvalidRequest      a parameter, a body or a query is wrong
    │   ├── InvalidEvent        a record or an event is wrong; it becomes a dead letter or a 400
    │   ├── InvalidMeter        a meter definition is wrong
    │   ├── TooLarge            a body is larger than the limit
    │   ├── TooManyRows         an answer would have more rows than the limit
    │   ├── UnsupportedEncoding a body has a compression that is not supported
    │   ├── NotFound            the thing does not exist
    │   ├── Conflict            the thing exists already, or something uses it
    │   ├── Unauthorized        there is no key or token, or it is not accepted
    │   └── Forbidden           the key lacks a scope, or a server without a key is asked by another machine
    ├── Unavailable             retry later: the request itself is not wrong
    │   ├── StoreUnavailable    ClickHouse refuses, does not respond, or is busy
    │   ├── QueryTimeout        a query took longer than the limit
    │   ├── QueryOverMemory     a query needs more memory than the limit
    │   ├── Busy                too many requests wait for the store already
    │   ├── LogUnavailable      the event log cannot be written
    │   ├── LogFull             the event log has reached its size limit
    │   └── TooManyRequests     the client has sent more requests than allowed
    ├── StoreError              ClickHouse refused a statement; it has the code of ClickHouse
    └── Fatal                   stop the process: to continue would lose or double usage
        ├── ConfigurationError  exit status 78
        ├── AddressUnavailable  the server cannot listen on an address
        ├── DataDirectoryInUse  another process uses the data directory
        ├── StoreMisconfigured  ClickHouse does not do what exactly-once storage needs
        ├── LogFailed           the event log will not serve this process again
        └── TooManyDeadLetters  so many records are wrong that a fault upstream is likely

Each leaf has a public kebab-case `code`. Other modules define subclasses of these, which keep the code of their parent;
exceptions outside the tree that are caught within their own package (for example in ingest/duplicates.py); and the
errors of the command line's requests (meterport/client_errors.py).
api/http/problems.py maps the classes to HTTP statuses. An answer that no error of this tree causes has its status where
it is given: api/server/refusals.py, api/http/host_header.py and the readiness in api/routes/operations.py.
"""

from typing import ClassVar

from engine.texts import truncate


class MeterportError(Exception):
    """The root of the tree. api/http/problems.py says of which classes a client is shown `str(error)`."""

    code: ClassVar[str] = "error"


class Refused(MeterportError):
    """The request is wrong, and sending it again does not help."""


class InvalidRequest(Refused):
    """A parameter, body or query is wrong; the message names it."""

    code = "invalid-request"


class InvalidEvent(Refused):
    """One event cannot be metered. `field` is the wrong CloudEvents attribute, or None for the event as a whole.

    Message and field are cut to 1,024 and 128 characters: they may quote the event, and they are written to answers,
    dead letters and logs.
    """

    code = "invalid-event"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(truncate(message, 1024))
        self.field = None if field is None else truncate(field, 128)


class InvalidMeter(Refused):
    """A meter definition is wrong; the message has one line for each problem."""

    code = "invalid-meter"


class TooLarge(Refused):
    """A body is larger than the configured limit."""

    code = "body-too-large"


class TooManyRows(Refused):
    """An answer would have more rows than the limit. The message names the setting and says what to ask for instead."""

    code = "too-many-rows"


class UnsupportedEncoding(Refused):
    """A body has a compression that is not supported; the message names the supported ones."""

    code = "unsupported-encoding"


class NotFound(Refused):
    """The thing that the request names does not exist."""

    code = "not-found"


class Conflict(Refused):
    """The thing exists already, or it cannot be changed because something uses it."""

    code = "conflict"


class Unauthorized(Refused):
    """The request has no key or token, or one that is not accepted."""

    code = "unauthorized"


class Forbidden(Refused):
    """The key lacks the scope of the route, or the server has no key and the request is of another machine.

    The message says which.
    """

    code = "forbidden"


class Unavailable(MeterportError):
    """The request cannot be served now; it can be sent again later."""


class StoreUnavailable(Unavailable):
    """ClickHouse refuses, does not respond, or is busy."""

    code = "store-unavailable"


class QueryTimeout(Unavailable):
    """A query took longer than the limit and was ended."""

    code = "query-timeout"


class QueryOverMemory(Unavailable):
    """A query needed more memory than the limit and was ended."""

    code = "query-over-memory"


class Busy(Unavailable):
    """Too many requests wait for the store already, or this request has waited too long."""

    code = "busy"


class LogUnavailable(Unavailable):
    """The event log cannot be written."""

    code = "log-unavailable"


class LogFull(Unavailable):
    """The event log has reached its size limit, because ingest is behind."""

    code = "log-full"


class TooManyRequests(Unavailable):
    """The client has sent more requests than allowed. `retry_seconds`: how long it should wait."""

    code = "too-many-requests"

    def __init__(self, message: str, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class StoreError(MeterportError):
    """ClickHouse refused a statement.

    Args: clickhouse_code: the error code of ClickHouse (60 is UNKNOWN_TABLE); None if there is none.
    """

    code = "store-error"

    def __init__(self, message: str, clickhouse_code: int | None = None) -> None:
        super().__init__(message)
        self.clickhouse_code = clickhouse_code


class Fatal(MeterportError):
    """The process must stop."""


class ConfigurationError(Fatal):
    """A setting is missing or wrong; the message names it, in one line."""

    code = "configuration-error"


class AddressUnavailable(Fatal):
    """The server cannot listen on an address; the message names the setting."""

    code = "address-unavailable"


class DataDirectoryInUse(Fatal):
    """Another process uses this data directory. `url`: the address where it accepts requests, if it is known."""

    code = "data-directory-in-use"

    def __init__(self, message: str, url: str | None = None) -> None:
        super().__init__(message)
        self.url = url


class StoreMisconfigured(Fatal):
    """ClickHouse does not do what exactly-once storage needs, because of a setting or a table definition."""

    code = "store-misconfigured"


class LogFailed(Fatal):
    """The event log will not serve this process again; a restart may help."""

    code = "log-failed"


class TooManyDeadLetters(Fatal):
    """So many records in a row are not events that a fault upstream is more likely than so many wrong records."""

    code = "too-many-dead-letters"
