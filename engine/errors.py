"""Every error Meterport raises on purpose, and what each asks of whoever catches it.

    MeterportError
    ├── Refused                 never retry: the request itself is wrong
    │   ├── InvalidRequest      a parameter, a body, a query
    │   ├── InvalidEvent        one record or event; becomes a dead letter or a 400
    │   ├── InvalidMeter        a meter definition
    │   ├── TooLarge            a body over the limit
    │   ├── TooManyRows         an answer would have more rows than one may
    │   ├── UnsupportedEncoding a body compressed in a way that is not unpacked here
    │   ├── NotFound
    │   ├── Conflict
    │   ├── Unauthorized        no key or token, or one that is not accepted
    │   └── Forbidden           a server without a key does not answer whoever asks
    ├── Unavailable             retry later: nothing is wrong with the request
    │   ├── StoreUnavailable    ClickHouse refuses, stalls or is busy
    │   ├── QueryTimeout        a query took longer than it may
    │   ├── QueryOverMemory     a query needs more memory than it may take
    │   ├── Busy                so much waits already that this cannot wait too
    │   ├── LogUnavailable      the event log cannot be written
    │   ├── LogFull             the event log holds as many bytes as it may
    │   └── TooManyRequests     whoever asks did so more often than allowed
    ├── StoreError              ClickHouse refused a statement; `code` of ClickHouse inside
    └── Fatal                   stop the process: going on would lose or double usage
        ├── ConfigurationError  exit status 78
        ├── AddressUnavailable  nobody can listen there now
        ├── DataDirectoryInUse
        ├── StoreMisconfigured
        ├── LogFailed           the event log will not serve this process again
        └── TooManyDeadLetters

Each leaf has a public kebab-case `code`. HTTP status codes are in api/http/problems.py, nowhere else.
"""

from typing import ClassVar


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]}…"


class MeterportError(Exception):
    """Root of the tree. `str(error)` is fit to be shown to whoever made the request."""

    code: ClassVar[str] = "error"


class Refused(MeterportError):
    """The request is wrong and stays wrong."""


class InvalidRequest(Refused):
    """A parameter, body or query is wrong; the message names it."""

    code = "invalid-request"


class InvalidEvent(Refused):
    """One event cannot be metered. `field` is the CloudEvents attribute at fault, or None for the whole.

    Both are cut: they may quote the event, and go into answers, dead letters and logs.
    """

    code = "invalid-event"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(_cut(message, 1024))
        self.field = None if field is None else _cut(field, 128)


class InvalidMeter(Refused):
    """A meter definition is wrong; one problem a line."""

    code = "invalid-meter"


class TooLarge(Refused):
    """A body is over the configured limit."""

    code = "body-too-large"


class TooManyRows(Refused):
    """An answer would have more rows than one may; the message names the setting, and what to ask for instead."""

    code = "too-many-rows"


class UnsupportedEncoding(Refused):
    """A body is compressed in a way that is not unpacked here; the message names those that are."""

    code = "unsupported-encoding"


class NotFound(Refused):
    """No such thing."""

    code = "not-found"


class Conflict(Refused):
    """It exists already, or something holds it."""

    code = "conflict"


class Unauthorized(Refused):
    """No key or token was given, or one that is not accepted."""

    code = "unauthorized"


class Forbidden(Refused):
    """A server without a key answers its own machine only; the message says why this request is not from there."""

    code = "forbidden"


class Unavailable(MeterportError):
    """Try again later."""


class StoreUnavailable(Unavailable):
    """ClickHouse refuses, stalls or is busy."""

    code = "store-unavailable"


class QueryTimeout(Unavailable):
    """A query took longer than one may; it was ended."""

    code = "query-timeout"


class QueryOverMemory(Unavailable):
    """A query needs more memory than one may take; it was ended."""

    code = "query-over-memory"


class Busy(Unavailable):
    """So many requests wait for the store already that this one cannot wait too, or it has waited for too long."""

    code = "busy"


class LogUnavailable(Unavailable):
    """The event log cannot be written."""

    code = "log-unavailable"


class LogFull(Unavailable):
    """The event log holds as many bytes as it may; ingest is behind."""

    code = "log-full"


class TooManyRequests(Unavailable):
    """Whoever asks did so more often than allowed. `retry_seconds`: how long to wait."""

    code = "too-many-requests"

    def __init__(self, message: str, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class StoreError(MeterportError):
    """ClickHouse refused a statement.

    Args: clickhouse_code: the number ClickHouse gives (60 is UNKNOWN_TABLE); None when it gave none.
    """

    code = "store-error"

    def __init__(self, message: str, clickhouse_code: int | None = None) -> None:
        super().__init__(message)
        self.clickhouse_code = clickhouse_code


class Fatal(MeterportError):
    """Stop the process."""


class ConfigurationError(Fatal):
    """A setting is missing or wrong; the message names it in one line."""

    code = "configuration-error"


class AddressUnavailable(Fatal):
    """A port cannot be listened on; the message names its setting."""

    code = "address-unavailable"


class DataDirectoryInUse(Fatal):
    """Another process works on this data directory. `url`: where it takes requests, if it said so."""

    code = "data-directory-in-use"

    def __init__(self, message: str, url: str | None = None) -> None:
        super().__init__(message)
        self.url = url


class StoreMisconfigured(Fatal):
    """ClickHouse does not keep to what exactly-once ingest needs of it."""

    code = "store-misconfigured"


class LogFailed(Fatal):
    """The event log will not serve this process again; another start may do."""

    code = "log-failed"


class TooManyDeadLetters(Fatal):
    """So many records cannot be read that a fault upstream is likelier than so many bad records."""

    code = "too-many-dead-letters"
