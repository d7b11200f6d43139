"""A ClickHouse server behind TLS: its certificate is verified, and the user is sent as the settings say."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engine.errors import ConfigurationError, StoreUnavailable
from engine.store.opening import open_store
from tests.harness.clickhouse import ClickHouseServer, server_settings
from tests.harness.tls_front import Authority, TlsFront

USER, PASSWORD = "ü:", "p@:s%/#'\""

Serve = Callable[..., TlsFront]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def serve(authority: Authority, clickhouse_server: ClickHouseServer) -> Iterator[Serve]:
    """Return a function that puts TLS in front of the ClickHouse server. Its options are those of the certificate."""
    started: list[TlsFront] = []

    def serve_(expired: bool = False, **options: object) -> TlsFront:
        context = authority.expired_context() if expired else authority.server_context(**options)  # type: ignore[arg-type]
        started.append(front := TlsFront(context, urlsplit(clickhouse_server.url).port or 0))
        return front

    yield serve_
    for front in started:
        front.close()


def _answer(front: TlsFront, data_dir: Path, **store: object) -> int:
    """Open the store behind TLS, and return what it answers to a query."""
    opened = open_store(server_settings(f"https://127.0.0.1:{front.port}", data_dir, **store))
    try:
        return int(opened.rows("SELECT 40 + 2")[0][0])
    finally:
        opened.close()


def _fields(front: TlsFront) -> set[str]:
    """Return the header fields that ClickHouse knows the user by, of all requests."""
    lines = {line for head in front.heads for line in head.decode().split("\r\n")}
    return {line for line in lines if line.startswith(("Authorization:", "X-ClickHouse-User:", "X-ClickHouse-SSL-"))}


def _basic(user: str) -> str:
    return base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()


def test_a_password_of_any_characters_reaches_the_server(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    front = serve()

    assert _answer(front, tmp_path, ca_location=str(authority.ca_file), username=USER, password=PASSWORD) == 42

    assert _fields(front) == {f"Authorization: Basic {_basic(USER)}"}


def test_a_password_without_a_user_is_that_of_the_user_default(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    front = serve()

    assert _answer(front, tmp_path, ca_location=str(authority.ca_file), password=PASSWORD) == 42

    assert _fields(front) == {f"Authorization: Basic {_basic('default')}"}


@pytest.mark.parametrize("in_one_file", [False, True])
def test_a_client_certificate_authenticates_the_user(
    serve: Serve, authority: Authority, tmp_path: Path, in_one_file: bool
) -> None:
    front = serve(asks_clients=True)
    certificate, key = authority.client_files("meterport")
    files = {"certificate_location": str(certificate), "key_location": str(key)}
    if in_one_file:
        both = tmp_path / "both.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        files = {"certificate_location": str(both)}

    assert _answer(front, tmp_path, ca_location=str(authority.ca_file), username="meterport", **files) == 42

    assert _fields(front) == {"X-ClickHouse-User: meterport", "X-ClickHouse-SSL-Certificate-Auth: on"}


def test_a_client_certificate_and_a_password_are_both_sent(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    front = serve(asks_clients=True)
    certificate, key = authority.client_files("meterport")
    files = {"certificate_location": str(certificate), "key_location": str(key)}

    assert _answer(front, tmp_path, ca_location=str(authority.ca_file), username=USER, password=PASSWORD, **files) == 42

    assert _fields(front) == {f"Authorization: Basic {_basic(USER)}"}


@pytest.mark.parametrize(
    ("certificate", "trusted", "reason"),
    [
        ({"expired": True}, True, "certificate has expired"),
        ({"host": "clickhouse.example"}, True, "IP address mismatch"),
        ({}, False, "unable to get local issuer certificate"),
        ({"asks_clients": True}, True, "certificate required"),
    ],
    ids=["expired", "wrong host", "unknown authority", "no client certificate"],
)
def test_a_certificate_that_is_not_accepted_is_named(
    serve: Serve, authority: Authority, tmp_path: Path, certificate: dict[str, object], trusted: bool, reason: str
) -> None:
    ca = {"ca_location": str(authority.ca_file)} if trusted else {}
    front = serve(**certificate)

    with pytest.raises(StoreUnavailable, match=reason):
        _answer(front, tmp_path, **ca)

    assert front.heads == []  # no user and no password was sent


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ca_location": "missing.pem"}, "store.ca_location: cannot use missing.pem: .*No such file"),
        ({"ca_location": __file__}, "store.ca_location: cannot use .*test_tls.py: "),
        ({"certificate_location": "missing.pem"}, "store.certificate_location: cannot use missing.pem: .*No such file"),
        (
            {"certificate_location": "missing.pem", "key_location": "missing.key"},
            "store.certificate_location: cannot use missing.pem and missing.key: .*No such file",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_store(server_settings("https://127.0.0.1:1", tmp_path, **files))
