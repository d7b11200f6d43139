"""ClickHouse's HTTP interface in front of chDB, in a process of its own: `-m tests.harness.clickhouse_front --path D`.

Owns: the socket, which can be closed and opened again; requests and answers; the carrying out of faults. These are told
to a second port: POST arms one (a `Fault` as JSON), DELETE disarms all, GET says how many statements each kind struck.
It announces itself on stdout: `ready port=20123 control=40001`. SIGTERM closes the engine; a statement under way is cut
off, as by SIGKILL. A connection is a thread, a statement a chDB connection. Loopback only.
Source: clickhouse.com/docs "HTTP Interface"; what of it is not here: tests/harness/clickhouse_statements.py.
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
from tests.harness.clickhouse_statements import Answer, Engine, EngineError, Statement, read_statement
from tests.harness.services import free_ports

HOST = "127.0.0.1"
_WITH_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST instead of FIN
_ENCODINGS = ("zstd", "lz4", "gzip")  # as a server prefers them


class Front:
    """One engine, the faults it has, and the door to it."""

    def __init__(self, path: Path, port: int) -> None:
        self.port = port
        self.engine = Engine(path)
        self.faults = Faults()
        self._lock = threading.Lock()
        self._door: _Listener | None = None
        self._control = _Listener(self, 0, _Control)
        self.control_port = self._control.server_address[1]
        self.open_door()

    def open_door(self) -> None:
        with self._lock:
            if self._door is None:
                self._door = _Listener(self, self.port, _Statements)

    def close_door(self) -> None:
        with self._lock:
            if self._door is not None:
                self._door.end()
                self._door = None

    def misbehave(self, fault: Fault) -> None:
        self.faults.arm(fault)
        if fault.kind == "refuse":
            self.close_door()
            threading.Thread(target=self._open_door_after, args=(fault,), daemon=True).start()

    def behave(self) -> None:
        self.faults.disarm()
        self.open_door()

    def _open_door_after(self, fault: Fault) -> None:
        fault.wait()
        if not self.faults.stands("refuse"):
            self.open_door()

    def close(self) -> None:
        self.close_door()
        self.engine.close()


class _Listener(socketserver.ThreadingTCPServer):
    """A listening socket and its thread; connections outlive it."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, front: Front, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.front = front
        super().__init__((HOST, port), handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()

    def shutdown_request(self, request: Any) -> None:
        """Close without the FIN that would go before a reset."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a client that went away; what else happens is the log's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature is the library's
        """Say nothing: a test makes thousands of requests."""

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
        """Raises: ConnectionAbortedError: the client went away, its statement is not run."""
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
    """What a ClickHouse server answers on its HTTP port."""

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
        except EngineError as error:
            self._answer_error(error)
            return
        fault = self.server.front.faults.draw(statement.is_insert)
        kind = None if fault is None else fault.kind
        if fault is not None and kind == "stall":
            fault.wait()
        if kind in {"refuse", "reset"}:
            self._reset()
            return
        answer = _made_up(fault.code) if fault is not None and kind == "error" else self._run(statement)
        if kind == "lose-answer":
            self._reset()
        elif isinstance(answer, EngineError):
            self._answer_error(answer)
        else:
            self._answer_rows(statement, answer)

    def _run(self, statement: Statement) -> Answer | EngineError:
        try:
            return self.server.front.engine.run(statement)
        except EngineError as error:
            return error

    def _reset(self) -> None:
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, _WITH_RESET)
        self.close_connection = True

    def _answer_error(self, error: EngineError) -> None:
        self.answer(error.status, f"{error}\n".encode(), {"X-ClickHouse-Exception-Code": str(error.code)})

    def _answer_rows(self, statement: Statement, answer: Answer) -> None:
        headers = {
            "X-ClickHouse-Query-Id": statement.query_id,
            "X-ClickHouse-Summary": json.dumps(answer.summary),
            "X-ClickHouse-Timezone": self.server.front.engine.zone,
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


def _made_up(code: int) -> EngineError:
    return EngineError(code, f"Code: {code}. DB::Exception: a fault of the test's making.")


class _Control(_Handler):
    """Where faults are armed and disarmed; nothing strikes here."""

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
    parser.add_argument("--port", type=int, default=0, help="0: a free one that stays ours over a restart")
    arguments = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    front = Front(arguments.path.resolve(), arguments.port or free_ports(1)[0])
    sys.stdout.write(f"ready port={front.port} control={front.control_port}\n")
    sys.stdout.flush()
    ended.wait()
    front.close()
    os._exit(0)  # the threads of open connections would hold up an orderly end


if __name__ == "__main__":
    main()
