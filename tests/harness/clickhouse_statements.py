"""A request as ClickHouse's HTTP interface reads it, run on chDB.

Owns: which parts of a request are SQL, rows, parameters and settings; a session of chDB for each request; the codes,
texts and statuses of errors.
Limits: a session id is accepted, but temporary tables and SET end with the request; there is one user, and no roles;
Native has no block headers (clickhouse-connect notices that and works without them); the `compress` protocol of
clickhouse-client is not supported; two statements in one text are run, while a server refuses them.
Source: ClickHouse 26.9 src/Server/HTTPHandler.cpp, src/Server/HTTP/HTMLForm.cpp, exceptionCodeToHTTPStatus.cpp;
clickhouse-connect driver/_backend/httpcommon.py for what the client sends.
"""

import gzip
import io
import os
import re
import uuid
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import chdb
from clickhouse_connect.driver.compression import _require_lz4, _zstd_decompress

from engine.store.deduplication_logs import repair_deduplication_logs

FIELD_BYTES = 131_072  # http_max_field_value_size, for a field of a URL or a form. No request can raise it
_POCO, _NOT_IMPLEMENTED, _UNKNOWN = 1000, 48, 1002
# Names that the HTTP interface itself uses. They are not settings.
_RESERVED = {
    *("query", "database", "default_format", "user", "password", "quota_key", "role", "query_id", "stacktrace"),
    *("session_id", "session_timeout", "session_check", "close_session", "buffer_size", "wait_end_of_query"),
    *("client_protocol_version", "compress", "decompress"),
}
_EXTERNAL = ("_format", "_types", "_structure")  # the external tables of a form; settings with such names are ignored
_PARAMETER = "param_"
_STATUSES = {
    400: {6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676},
    401: {194},
    403: {192, 193, 497, 512, 516},
    404: {46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511},
    408: {159},
    411: {381},
    413: {229},
    501: {_NOT_IMPLEMENTED},
    503: {76, 209, 439},
}
_COMMENT = rb"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_FIRST_WORD = re.compile(_COMMENT + rb"(\w+)", re.DOTALL)
# INSERT INTO t (a, b) [SETTINGS …] FORMAT Arrow, a line break, then the rows. The rows of VALUES stay in the statement.
_ROWS = re.compile(
    _COMMENT + rb"(?P<into>INSERT\s+INTO\s(?:(?!\b(?:SELECT|WITH|VALUES|SETTINGS)\b).)*?)(?P<settings>\bSETTINGS\s.*?)?"
    rb"\bFORMAT\s+(?!VALUES\b)(?P<format>\w+)[ \t]*\r?\n",
    re.DOTALL | re.IGNORECASE,
)
_HEAD_BYTES = 65_536  # the text of an INSERT, without its rows, ends within these
_ANSWERS = {b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN", b"CHECK"}
_UNCHANGING = {b"SELECT", b"WITH", b"INSERT"}  # statements that change nothing of their session
_MOST_IDLE = 16
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)


class ClickHouseError(Exception):
    """The error that ClickHouse answers instead of rows."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.status = next((status for status, codes in _STATUSES.items() if code in codes), 500)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement. `text` ends before the rows of an INSERT. `format`: that of the answer, if the text names none."""

    text: bytes
    rows: memoryview | None
    database: str
    format: str
    settings: dict[str, str]
    parameters: dict[str, str]
    query_id: str

    @property
    def word(self) -> bytes:
        found = _FIRST_WORD.match(self.text)
        return found[1].upper() if found else b""

    @property
    def is_insert(self) -> bool:
        return self.word == b"INSERT"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a statement. `format`: None if the statement answers nothing."""

    body: bytes
    format: str | None
    summary: dict[str, str]


def read_statement(method: str, query: str, headers: Message, body: bytes) -> Statement:
    """Return the statement of a request. Args: query: the part of its URL after `?`. Raises: ClickHouseError."""
    fields = dict(_url_fields(query))
    if fields.get("compress", "0") != "0" or fields.get("decompress", "0") != "0":
        raise ClickHouseError(_NOT_IMPLEMENTED, "Code: 48. DB::Exception: compress and decompress. (NOT_IMPLEMENTED)")
    parameters = {name: value for name, value in fields.items() if name.startswith(_PARAMETER)}
    settings = {name: value for name, value in fields.items() if name not in _RESERVED and name not in parameters}
    whole = _decompressed(headers.get("Content-Encoding", ""), body)
    text = fields.get("query", "").encode()
    if headers.get_content_type() == "multipart/form-data":
        settings = {name: value for name, value in settings.items() if not name.endswith(_EXTERNAL)}
        form = dict(_form_fields(str(headers.get_param("boundary")).encode(), whole))
        parameters |= {name: value.decode() for name, value in form.items() if name.startswith(_PARAMETER)}
        whole = text + form.get("query", b"")
    elif text:
        whole = text + b"\n" + whole
    if method == "GET":
        settings["readonly"] = "2"
    found = _ROWS.match(whole, 0, _HEAD_BYTES)
    return Statement(
        text=whole[: found.end()] if found else whole,
        rows=memoryview(whole)[found.end() :] if found else None,
        database=headers.get("X-ClickHouse-Database") or fields.get("database", ""),
        format=headers.get("X-ClickHouse-Format") or fields.get("default_format", "TabSeparated"),
        settings=settings,
        parameters={name.removeprefix(_PARAMETER): value for name, value in parameters.items()},
        query_id=headers.get("X-ClickHouse-Query-Id") or fields.get("query_id") or str(uuid.uuid4()),
    )


def _url_fields(query: str) -> Iterator[tuple[str, str]]:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        _check_size(len(value))
        if name:
            yield unquote_plus(name), unquote_plus(value)


def _form_fields(boundary: bytes, body: bytes) -> Iterator[tuple[str, bytes]]:
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary):
        head, _, value = part.partition(b"\r\n\r\n")
        name = re.search(rb'; name="([^"]*)"', head)
        if name:
            _check_size(len(value))
            yield name[1].decode(), value


def _check_size(size: int) -> None:
    if size > FIELD_BYTES:
        text = f"Poco::Exception. Code: {_POCO}, e.code() = 0, HTML Form Exception: Field value too long"
        raise ClickHouseError(_POCO, text)


def _decompressed(encoding: str, body: bytes) -> bytes:
    """Return the decompressed body, which may consist of several frames."""
    match encoding:
        case "":
            return body
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case "zstd":
            return bytes(_zstd_decompress(body))
        case "lz4":
            with _require_lz4().open(io.BytesIO(body)) as frames:
                return bytes(frames.read())
    raise ClickHouseError(_NOT_IMPLEMENTED, f"Code: 48. DB::Exception: Content-Encoding {encoding}. (NOT_IMPLEMENTED)")


class Chdb:
    """chDB on one path. Opening it repairs first what a killed process left there. Thread-safe."""

    def __init__(self, path: Path, config: Path | None = None) -> None:
        """Args: config: a configuration file of ClickHouse."""
        repair_deduplication_logs(path)
        self._path = str(path)
        self._anchor = chdb.connect(f"{self._path}?config-file={config}" if config else self._path)
        self._idle: deque[tuple[tuple[str, str], Any]] = deque()  # sessions, each with its database and settings
        version, self.zone = self._anchor.query("SELECT version(), timezone()", "TSV").bytes().decode().split()
        self._signature = f" (version {version})"

    def run(self, statement: Statement) -> Answer:
        """Run a statement in its own session. Raises: ClickHouseError."""
        with self._clickhouse_errors(), self._session(statement) as connection:
            if statement.rows is None:
                result = connection.query(statement.text, statement.format, params=statement.parameters)
            else:
                result = _insert(connection, statement.text, statement.rows)
            return Answer(result.bytes(), _format(statement), _summary(result))

    def close(self) -> None:
        """Close chDB, unless a statement is running."""
        while self._idle:
            self._idle.pop()[1].close()
        self._anchor.close()

    @contextmanager
    def _session(self, statement: Statement) -> Iterator[Any]:
        """Yield a connection with the database and the settings of a statement, for this statement alone.

        A new one takes 2 ms. So it is kept for the next statement that needs the same, if this one leaves it unchanged.
        """
        # chDB accepts `1 + 1` as a query, a server does not. `readonly`, if set, must be the last setting.
        needed = (statement.database, _settings({"implicit_select": "0"} | statement.settings))
        connection = self._kept(needed) or self._connect(*needed)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if statement.word not in _UNCHANGING:
            connection.close()
            return
        self._idle.append((needed, connection))
        with suppress(IndexError):  # another thread may take one at this moment
            if len(self._idle) > _MOST_IDLE:
                self._idle.popleft()[1].close()

    def _kept(self, needed: tuple[str, str]) -> Any:
        for _ in range(len(self._idle)):
            try:
                found, connection = self._idle.popleft()
            except IndexError:
                return None
            if found == needed:
                return connection
            self._idle.append((found, connection))
        return None

    def _connect(self, database: str, settings: str) -> Any:
        connection = chdb.connect(self._path)
        try:
            if database:
                connection.query(f"USE {_quoted(database, '`')}")
            connection.query(f"SET {settings}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _clickhouse_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            found = re.search(r"Code: (\d+)", str(error))
            raise ClickHouseError(int(found[1]) if found else _UNKNOWN, str(error) + self._signature) from error


def _insert(connection: Any, head: bytes, rows: memoryview) -> Any:
    """Insert rows from a file in memory: chDB truncates binary rows that are part of the statement text."""
    found = _ROWS.match(head)
    assert found is not None
    with os.fdopen(os.memfd_create("rows"), "wb") as file:
        file.write(rows)
        file.flush()
        text = b"%b FROM INFILE '/proc/self/fd/%d' %b FORMAT %b"
        return connection.query(text % (found["into"], file.fileno(), found["settings"] or b"", found["format"]))


def _format(statement: Statement) -> str | None:
    if statement.word not in _ANSWERS:
        return None
    found = _FORMAT.search(statement.text[-200:])
    return found[1].decode() if found else statement.format


def _summary(result: Any) -> dict[str, str]:
    numbers = {
        "read_rows": result.storage_rows_read(),
        "read_bytes": result.storage_bytes_read(),
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "total_rows_to_read": 0,
        "result_rows": result.rows_read(),
        "result_bytes": result.size(),
        "elapsed_ns": int(result.elapsed() * 1e9),
    }
    return {name: str(number) for name, number in numbers.items()}


def _settings(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {_quoted(value, chr(39))}" for name, value in values.items())


def _quoted(text: str, quote: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
    return f"{quote}{escaped}{quote}"
