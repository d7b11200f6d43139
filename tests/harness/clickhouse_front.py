"""ClickHouse's HTTP interface in front of chDB, in its own process: `-m tests.harness.clickhouse_front --path D`.

Owns: the socket, which can be closed and opened again; requests and answers; carrying out faults. A second port
controls the faults: POST arms one (a `Fault` as JSON), DELETE disarms all, GET returns how many statements each kind
has hit.
When it is ready, it prints `ready port=20123 control=40001` to stdout. SIGTERM closes chDB; a running statement is cut
off, as by SIGKILL. Each connection has a thread, and each statement a chDB connection. Loopback, unless `--host`
says otherwise.
Source: clickhouse.com/docs "HTTP Interface". tests/harness/clickhouse_statements.py lists what is missing here.
"""

import argparse
import json
import os
import signal
import socketserver
import struct
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from clickhouse_connect.driver.compression import available_compression, get_compressor

from tests.harness.clickhouse_faults import Fault, Faults
from tests.harness.clickhouse_statements import Answer, Chdb, ClickHouseError, Statement, read_statement
from tests.harness.ports import LOOPBACK, free_ports

_WITH_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST instead of FIN
_ENCODINGS = ("zstd", "lz4", "gzip")  # in the order in which a server prefers them


class Front:
    """One chDB, its faults, and the port where it answers."""

    def __init__(self, path: Path, port: int, config: Path | None = None, host: str = LOOPBACK) -> None:
        self.port = port
        self.host = host
        self.chdb = Chdb(path, config)
        self.faults = Faults()
        self._lock = threading.Lock()
        self._listener: _Listener | None = None
        self._control = _Listener(self, LOOPBACK, 0, _Control)
        self.control_port = self._control.server_address[1]
        self.open_port()

    def open_port(self) -> None:
        with self._lock:
            if self._listener is None:
                self._listener = _Listener(self, self.host, self.port, _Statements)

    def close_port(self) -> None:
        with self._lock:
            if self._listener is not None:
                self._listener.end()
                self._listener = None

    def misbehave(self, fault: Fault) -> None:
        self.faults.arm(fault)
        if fault.kind == "refuse":
            self.close_port()
            threading.Thread(target=self._open_port_after, args=(fault,), daemon=True).start()

    def behave(self) -> None:
        self.faults.disarm()
        self.open_port()

    def _open_port_after(self, fault: Fault) -> None:
        fault.wait()
        if not self.faults.is_armed("refuse"):
            self.open_port()

    def close(self) -> None:
        self.close_port()
        self.chdb.close()


class _Listener(socketserver.ThreadingTCPServer):
    """A listening socket and its thread. Its connections stay open after it is closed."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, front: Front, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.front = front
        super().__init__((host, port), handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()

    def shutdown_request(self, request: Any) -> None:
        """Close the connection without the FIN that would precede a reset."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has gone. Write every other error to the log."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature is the library's
        """Log nothing: a test makes thousands of requests."""

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._read(int(self.headers.get("Content-Length", "0")))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0] or b"0", 16):
            chunks.append(self._read(size))
            self.rfile.readline()
        if not self.rfile.readline():
            raise ConnectionAbortedError
        return b"".join(chunks)

    def _read(self, size: int) -> bytes:
        """Raises: ConnectionAbortedError: the client has gone; its statement is not run."""
        found = self.rfile.read(size)
        if len(found) < size:
            raise ConnectionAbortedError
        return found

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Statements(_Handler):
    """The answers of a ClickHouse server on its HTTP port."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.body()
        path, _, query = self.path.partition("?")
        if path == "/ping" or not (query or body):
            self.answer(200, b"Ok.\n")
            return
        try:
            statement = read_statement(self.command, query, self.headers, body)
        except ClickHouseError as error:
            self._answer_error(error)
            return
        fault = self.server.front.faults.draw(statement.is_insert)
        kind = None if fault is None else fault.kind
        if fault is not None and kind == "stall":
            fault.wait()
        if kind in {"refuse", "reset"}:
            self._reset()
            return
        answer = _injected_error(fault.code) if fault is not None and kind == "error" else self._run(statement)
        if kind == "lose-answer":
            self._reset()
        elif isinstance(answer, ClickHouseError):
            self._answer_error(answer)
        else:
            self._answer_rows(statement, answer)

    def _run(self, statement: Statement) -> Answer | ClickHouseError:
        try:
            return self.server.front.chdb.run(statement)
        except ClickHouseError as error:
            return error

    def _reset(self) -> None:
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, _WITH_RESET)
        self.close_connection = True

    def _answer_error(self, error: ClickHouseError) -> None:
        self.answer(error.status, f"{error}\n".encode(), {"X-ClickHouse-Exception-Code": str(error.code)})

    def _answer_rows(self, statement: Statement, answer: Answer) -> None:
        headers = {
            "X-ClickHouse-Query-Id": statement.query_id,
            "X-ClickHouse-Summary": json.dumps(answer.summary),
            "X-ClickHouse-Timezone": self.server.front.chdb.zone,
        }
        if answer.format is not None:
            headers["X-ClickHouse-Format"] = answer.format
        body = answer.body
        accepted = self.headers.get("Accept-Encoding", "")
        encoding = next((name for name in _ENCODINGS if name in accepted and name in available_compression), None)
        if encoding and body and statement.settings.get("enable_http_compression") != "0":
            compressor = get_compressor(encoding)
            body = compressor.compress_block(body) + (compressor.flush() or b"")
            headers["Content-Encoding"] = encoding
        self.answer(200, body, headers)


def _injected_error(code: int) -> ClickHouseError:
    return ClickHouseError(code, f"Code: {code}. DB::Exception: a fault that the test has armed.")


class _Control(_Handler):
    """The control port, where faults are armed and disarmed. No fault hits these requests."""

    def do_POST(self) -> None:
        self.server.front.misbehave(Fault(**json.loads(self.body())))
        self.answer(204)

    def do_DELETE(self) -> None:
        self.server.front.behave()
        self.answer(204)

    def do_GET(self) -> None:
        self.answer(200, json.dumps(self.server.front.faults.struck()).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface in front of chDB, for tests")
    parser.add_argument("--path", type=Path, required=True, help="chDB's directory")
    parser.add_argument("--config", type=Path, help="a configuration file of ClickHouse")
    parser.add_argument("--port", type=int, default=0, help="0: a free one that stays free during a restart")
    parser.add_argument("--host", default=LOOPBACK, help="the address where statements are answered")
    arguments = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    front = Front(arguments.path.resolve(), arguments.port or free_ports(1)[0], arguments.config, arguments.host)
    sys.stdout.write(f"ready port={front.port} control={front.control_port}\n")
    sys.stdout.flush()
    ended.wait()
    front.close()
    os._exit(0)  # a normal exit would wait for the threads of open connections


if __name__ == "__main__":
    main()
