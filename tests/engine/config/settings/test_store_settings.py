"""The settings of the ClickHouse server: its address, its user, and the files of certificates."""

from pathlib import Path

import pytest

from engine.config.redaction import secrets_of
from engine.errors import ConfigurationError
from tests.harness.clickhouse import server_settings

NO_URL = "store.url: is not a URL: write the user and the password in store.username and store.password"


@pytest.mark.parametrize(
    ("url", "address", "credentials"),
    [
        ("http://clickhouse", ("http", "clickhouse", 8123), (None, "")),
        ("https://clickhouse/", ("https", "clickhouse", 8443), (None, "")),
        ("https://clickhouse:9440", ("https", "clickhouse", 9440), (None, "")),
        ("http://[::1]:8443", ("http", "::1", 8443), (None, "")),
        ("http://u:p%40%2F%25@h:1", ("http", "h", 1), ("u", "p@/%")),
        ("http://u:p@s@h:1", ("http", "h", 1), ("u", "p@s")),
    ],
)
def test_an_address_is_read_from_its_url(
    tmp_path: Path, url: str, address: tuple[str, str, int], credentials: tuple[str | None, str]
) -> None:
    store = server_settings(url, tmp_path).store

    assert (store.address, store.credentials) == (address, credentials)


@pytest.mark.parametrize("password", ["p@:s%/#'\"", "", "ü\n"])
def test_a_password_of_its_own_is_taken_as_it_is(tmp_path: Path, password: str) -> None:
    settings = server_settings("http://h:1", tmp_path, username="u@h", password=password)

    assert settings.store.credentials == ("u@h", password)
    assert (password in secrets_of(settings)) == (len(password) >= 4)


@pytest.mark.parametrize(
    ("url", "others", "message"),
    [
        ("http://u:p/w@h:1", {}, NO_URL),
        ("http://u:p?w@h:1", {}, NO_URL),
        ("http://u:p#w@h:1", {}, NO_URL),
        ("http://u:1/w@h:1", {}, NO_URL),
        ("http://h:1/meterport", {}, "store.url: must end after the port: the database is in store.database"),
        ("http://h:1?secure=1", {}, "store.url: must end after the port: the database is in store.database"),
        ("clickhouse:8123", {}, "store.url: must be http(s)://host:port"),
        ("http://u@h", {"username": "v"}, "store: username is set, but url names a user, too: set only one of them"),
        ("http://u:p@h", {"password": "q"}, "store: password is set, but url contains a password, too: set only one"),
        ("http://h", {"ca_location": "f"}, "store: ca_location is set, but url does not begin with https://"),
        ("https://h", {"key_location": "f"}, "store: key_location is set, but certificate_location is not"),
        (None, {"username": "u"}, "store: username is set, but url is not"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, url: str | None, others: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        server_settings(url, tmp_path, **others)  # type: ignore[arg-type]

    assert str(refused.value).startswith(message)
