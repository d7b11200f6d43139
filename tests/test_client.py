"""The HTTP client of the command line: to which servers it sends the API key, and to which not (case S11)."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from meterport.addresses import is_local_url
from meterport.client import ApiClient
from meterport.client_errors import Refusal

KEY = "the-api-key-of-these-tests"
Seen = list[tuple[str, str | None]]


@contextmanager
def answering(status: int, headers: dict[str, str]) -> Iterator[tuple[str, Seen]]:
    """Serve one answer to every request. Yield the URL, and the path and key of each request so far."""
    seen: Seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            for name, value in headers.items() if len(seen) == 1 else ():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"[{}]")

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("prefix", ["", "/metering"])
@pytest.mark.parametrize(
    "link", ["{other}/steal?before=x", "//{bare}/steal?before=x", "/steal?before=x", "steal?before=x"]
)
def test_the_next_page_is_asked_of_the_same_server(link: str, prefix: str) -> None:
    with answering(200, {}) as (other, of_the_other):
        named = link.format(other=other, bare=other.removeprefix("http://"))
        with answering(200, {"Link": f'<{named}>; rel="next"'}) as (url, seen):
            client = ApiClient(f"{url}{prefix}", KEY)
            found = client.list_dead_letters(2, {})
            client.close()

    assert of_the_other == []
    assert found == [{}, {}]
    assert seen[1] == (f"{prefix}/steal?before=x", f"Bearer {KEY}")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with answering(200, {}) as (other, of_the_other), answering(status, {"Location": f"{other}/steal"}) as (url, seen):
        client = ApiClient(url, KEY)
        with pytest.raises(Refusal):
            client.list_meters()
        client.close()

    assert of_the_other == []
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("http://127.0.0.1:8888", True),
        ("http://127.0.0.2:8888", True),
        ("http://[::1]:8888", True),
        ("http://localhost:8888", True),
        ("http://192.0.2.1:8888", False),
        ("http://[2001:db8::1]:8888", False),
        ("http://evil.example:8888", False),
        ("http://127.0.0.1@evil.example:8888", False),
        ("http://[::1", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_an_address_is_of_this_machine_or_not(url: str, is_own: bool) -> None:
    assert is_local_url(url) is is_own
