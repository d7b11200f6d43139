"""The client of the command line waits for a busy store, and until a server has stored everything."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from meterport.client import ApiClient
from meterport.client_errors import Refusal


def test_a_busy_engine_is_waited_out() -> None:
    answers = [(503, {"Retry-After": "0"}), (503, {"Retry-After": "0"}), (204, {})]
    bodies: list[bytes] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers = answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Busy) as busy:
        threading.Thread(target=busy.serve_forever, daemon=True).start()
        client = ApiClient(f"http://127.0.0.1:{busy.server_port}", None)
        refused = client.send_events([b'{"id":1}', b'{"id":2}'])
        with pytest.raises(Refusal):
            answers.append((400, {}))
            client.send_events([b"{}"])
        client.close()
        busy.shutdown()

    assert refused == {}
    assert bodies == [b'[{"id":1},{"id":2}]'] * 3 + [b"[{}]"]


def test_a_server_that_does_not_know_its_lag_yet_has_not_stored_everything() -> None:
    """A server that is started again after a kill must join its consumer group first."""
    metrics = [("NaN", 0), ("NaN", 0), ("3.0", 0), ("3.0", 0), ("NaN", 0), ("0.0", 3)]
    told: list[int] = []

    class Started(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lag, stored = metrics.pop(0) if self.path == "/metrics" else ("0", 0)
            totals = {"events_stored": stored, "events_duplicate": 0, "dead_letters": 0}
            lines = [f"meterport_log_records {lag}", *(f"meterport_{name}_total {n}" for name, n in totals.items())]
            body = "\n".join(lines).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Started) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        client = ApiClient(f"http://127.0.0.1:{started.server_port}", None)
        client.wait_until_stored(told.append)
        client.close()
        started.shutdown()

    assert (told, metrics) == ([3], [])
