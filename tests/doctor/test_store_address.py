"""`meterport doctor` names why a ClickHouse server cannot be reached: from its name to its certificate."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.doctor.runs import diagnose_store
from tests.harness.clickhouse import ClickHouse, ClickHouseServer
from tests.harness.tls_front import Authority, TlsFront


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    clickhouse = ClickHouse(tmp_path / "clickhouse")  # it does not run
    address = urlsplit(clickhouse.url).netloc

    found = diagnose_store(clickhouse, tmp_path)

    assert (found.status, found.faults()) == (
        1,
        {
            "store address": f"store.url: {address} refuses the connection: nothing listens there: correct the "
            "address, or start the server"
        },
    )
    assert len(found.skipped()) == 8


def test_a_host_that_does_not_exist_is_named(tmp_path: Path) -> None:
    found = diagnose_store(None, tmp_path, url="http://clickhouse.invalid:8123")

    assert found.faults()["store address"].startswith(
        "store.url: no address is known for the host clickhouse.invalid ("
    )


def test_a_server_that_takes_connections_and_does_not_answer_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = diagnose_store(None, tmp_path, url=f"http://127.0.0.1:{port}")

    assert [*found.faults()] == ["store user"]
    assert found.faults()["store user"].startswith(
        "store.url: ClickHouse takes connections, but does not answer a statement: "
    )


class _Proxy(BaseHTTPRequestHandler):
    """Answers every request with the status of its server, and with a page."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b"<html>\n<p>A page of a proxy</p>\n" + b" text" * 1000)

    do_GET = do_POST  # noqa: N815 - the library defines the name

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "store.url: what answers there is not ClickHouse, correct it: HTTP driver received HTTP status 404, "),
        (502, "store.url: ClickHouse takes connections, but does not answer a statement: HTTP driver received HTTP "),
    ],
)
def test_a_proxy_in_the_place_of_the_server_is_named(tmp_path: Path, status: int, message: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as proxy:
        proxy.status = status  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        found = diagnose_store(None, tmp_path, url=f"http://127.0.0.1:{proxy.server_port}")
        proxy.shutdown()

    assert [*found.faults()] == ["store user"]
    assert found.faults()["store user"].startswith(message)


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_a_server_that_speaks_another_protocol_is_named(
    authority: Authority, clickhouse_server: ClickHouseServer, tmp_path: Path, protocol: str
) -> None:
    plain_port = urlsplit(clickhouse_server.url).port or 0
    front = TlsFront(authority.server_context(), plain_port)
    port = plain_port if protocol == "https" else front.port

    found = diagnose_store(None, tmp_path, url=f"{protocol}://127.0.0.1:{port}")
    front.close()

    [message] = found.faults().values()
    assert ("does not speak TLS" if protocol == "https" else "does not answer a statement") in message


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "trusted", "message"),
    [
        pytest.param(
            "expired",
            True,
            "store.url: the certificate of 127.0.0.1 has expired: renew it on the server, or correct ",
            marks=pytest.mark.only_long,
        ),
        pytest.param(
            "clickhouse.example",
            True,
            "store.url: the certificate is not for 127.0.0.1 (IP address mismatch, ",
            marks=pytest.mark.only_long,
        ),
        ("127.0.0.1", False, "store.ca_location: the certificate of 127.0.0.1 is signed by an unknown CA ("),
        ("127.0.0.1", True, ""),
    ],
    ids=["expired", "wrong host", "unknown authority", "right"],
)
def test_a_certificate_that_is_not_accepted_is_named(
    authority: Authority,
    clickhouse_server: ClickHouseServer,
    tmp_path: Path,
    certificate: str,
    trusted: bool,
    message: str,
) -> None:
    expired = certificate == "expired"
    context = authority.expired_context() if expired else authority.server_context(certificate)
    front = TlsFront(context, urlsplit(clickhouse_server.url).port or 0)
    ca = {"ca_location": str(authority.ca_file)} if trusted else {}

    found = diagnose_store(None, tmp_path, url=f"https://127.0.0.1:{front.port}", database="never_made", **ca)
    front.close()

    assert [*found.faults()] == (["store address"] if message else [])
    assert found.faults().get("store address", "").startswith(message)


def test_a_certificate_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    found = diagnose_store(None, tmp_path, url="https://127.0.0.1:1", ca_location="missing.pem")

    assert found.faults()["store address"].startswith("store.ca_location: cannot use missing.pem: ")


def test_a_client_certificate_that_is_missing_is_named(
    authority: Authority, clickhouse_server: ClickHouseServer, tmp_path: Path
) -> None:
    front = TlsFront(authority.server_context(asks_clients=True), urlsplit(clickhouse_server.url).port or 0)

    found = diagnose_store(None, tmp_path, url=f"https://127.0.0.1:{front.port}", ca_location=str(authority.ca_file))
    front.close()

    assert [*found.faults()] == ["store user"]
    assert "certificate required" in found.faults()["store user"]
