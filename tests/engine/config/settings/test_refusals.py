"""Settings that are wrong are refused with one line that names the setting, from a file, a variable or a flag."""

from pathlib import Path

import pytest

from engine.config.loading import load_settings
from tests.engine.config.settings.sample_settings import refusal, write

EARLIEST = "ingest.earliest_time: must be an RFC 3339 timestamp with an offset, from 1970 on"
HEADER = "api_key: must be visible ASCII characters without spaces: a request cannot send others"
FILES = {
    "an unknown setting": ("prot: 1\n", "prot: unknown setting"),
    "an unknown setting of a group": ("server:\n  prot: 1\n", "server.prot: unknown setting"),
    "a group without settings": ("server:\n#  port: 8888\n", "server: must contain settings by name"),
    "a wrong type": (
        "server:\n  port: many\n",
        "server.port: Input should be a valid integer, unable to parse string as an integer",
    ),
    "a number too large": ("server:\n  port: 70000\n", "server.port: Input should be less than or equal to 65535"),
    "a word that is none of them": (
        "log_level: loud\n",
        "log_level: String should match pattern '^(debug|info|warning|error)$'",
    ),
    "a database that is no name": (
        "store: {database: 'a; DROP'}\n",
        "store.database: String should match pattern '^[A-Za-z_][A-Za-z0-9_]*$'",
    ),
    "a signing key too short": (
        "portal: {token_keys: [short]}\n",
        "portal.token_keys: a key has fewer than 16 characters",
    ),
    "an earliest time that is none": ("ingest: {earliest_time: yesterday}\n", EARLIEST),
    "an earliest time without an offset": ("ingest: {earliest_time: '2020-01-01T00:00:00'}\n", EARLIEST),
    "an earliest time before all windows": ("ingest: {earliest_time: '1969-12-31T23:59:59Z'}\n", EARLIEST),
    "an empty key": ("api_key: ''\n", "api_key: must not be empty"),
    "a key of other letters": ("api_key: ключ\n", HEADER),
    "a key of two words": ("api_key: open sesame\n", HEADER),
    "a key with a line's end": ('api_key: "sesame\\n"\n', HEADER),
}


@pytest.mark.parametrize(("text", "message"), FILES.values(), ids=FILES)
def test_a_file_that_is_wrong_is_refused_with_one_line_that_names_the_setting(
    tmp_path: Path, text: str, message: str
) -> None:
    config = write(tmp_path / "m.yaml", text)

    assert refusal(config) == f"{message} (in the configuration file)"


def test_the_file_is_not_named_for_what_a_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has other settings of the group, or the same one with another value."""
    config = write(tmp_path / "m.yaml", "store: {url: 'http://clickhouse:8123', database: usage}\n")

    monkeypatch.setenv("METERPORT_STORE__CA_LOCATION", "")
    assert refusal(config) == "store.ca_location: String should have at least 1 character"
    monkeypatch.setenv("METERPORT_STORE__CA_LOCATION", "ca.pem")
    monkeypatch.setenv("METERPORT_STORE__DATABASE", "a b")
    assert refusal(config) == "store.database: String should match pattern '^[A-Za-z_][A-Za-z0-9_]*$'"


def test_a_file_that_holds_no_settings_or_is_not_there_is_refused_with_one_line(tmp_path: Path) -> None:
    broken = write(tmp_path / "m.yaml", "server: [\n")

    assert refusal(broken).startswith(f"{broken} is not YAML: ")
    assert "\n" not in refusal(broken)
    assert refusal(write(tmp_path / "list.yaml", "- 1\n")) == f"{tmp_path}/list.yaml must contain settings by name"
    assert refusal(write(tmp_path / "number.yaml", "1: 2\n")) == f"{tmp_path}/number.yaml must contain settings by name"
    assert refusal(tmp_path / "gone.yaml") == f"cannot read {tmp_path}/gone.yaml: No such file or directory"
    broken.write_bytes(b"log_level: \xffinfo\n")
    assert refusal(broken) == f"{broken} is not UTF-8: byte 12"


def test_a_setting_that_stands_twice_in_the_file_is_refused(tmp_path: Path) -> None:
    """Otherwise the first one would be lost."""
    twice = write(tmp_path / "m.yaml", "server: {port: 1}\nlog_level: info\nserver: {host: localhost}\n")
    within = write(tmp_path / "n.yaml", "server: {port: 1, port: 2}\n")
    merged = write(tmp_path / "o.yaml", "kafka: {options: &a {x: '1', y: '2'}}\nmeters: [{<<: *a, x: '3'}]\n")

    assert refusal(twice) == f"{twice} is not YAML: line 3, column 1: server appears twice"
    assert refusal(within) == f"{within} is not YAML: line 1, column 19: port appears twice"
    assert load_settings(merged).meters == [{"x": "3", "y": "2"}], "a name may replace one that YAML merges into it"


VARIABLES = {
    "an unknown one": ("METERPORT_PROT", "1", "METERPORT_PROT: no such setting"),
    "an unknown one of a group": ("METERPORT_SERVER__PROT", "1", "METERPORT_SERVER__PROT: no such setting"),
    "a group with one underscore": (
        "METERPORT_SERVER_PORT",
        "1",
        "METERPORT_SERVER_PORT: no such setting, did you mean METERPORT_SERVER__PORT?",
    ),
    "the same in lower case": (
        "meterport_query_timeout_seconds",
        "1",
        "meterport_query_timeout_seconds: no such setting, did you mean METERPORT_QUERY__TIMEOUT_SECONDS?",
    ),
    "two underscores too many": (
        "METERPORT_LOG__LEVEL",
        "info",
        "METERPORT_LOG__LEVEL: no such setting, did you mean METERPORT_LOG_LEVEL?",
    ),
    "a setting in lower case that is none": ("meterport_prot", "1", "meterport_prot: no such setting"),
    "a wrong type": (
        "METERPORT_SERVER__PORT",
        "many",
        "server.port: Input should be a valid integer, unable to parse string as an integer",
    ),
    "an unknown setting in JSON": ("METERPORT_SERVER", '{"prot": 1}', "server.prot: unknown setting"),
    "an empty key": ("METERPORT_API_KEY", "", "api_key: must not be empty"),
}


@pytest.mark.parametrize(("name", "value", "message"), VARIABLES.values(), ids=VARIABLES)
def test_a_variable_that_is_wrong_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)

    assert refusal() == message


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("METERPORT_METERS", '[{"a": "b"}]'),
        ("METERPORT_PORTAL__TOKEN_KEYS", '["a", "b"]'),
        ("METERPORT_SERVER__CORS_ORIGINS", '["a", "b"]'),
    ],
)
def test_a_variable_that_is_not_the_json_it_should_be_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, example: str
) -> None:
    monkeypatch.setenv(name, "a,b")

    assert refusal() == f"{name}: must be a JSON list such as {example}"


KEYS = '"Ap3-long.enough_key"'


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("METERPORT_STORE__URL", "clickhouse", "store.url: must be http(s)://host:port{place}"),
        ("METERPORT_PORTAL__TOKEN_KEYS", KEYS, "portal.token_keys: Input should be a valid list{place}"),
        ("METERPORT_STORE__CA_LOCATION", "/ca.crt", "store: ca_location is set, but url is not"),
    ],
)
def test_what_is_wrong_in_a_secret_file_is_not_looked_for_in_the_configuration_file(
    variable: str, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path / "m.yaml", "store: {database: usage}\nportal: {token_seconds: 60}\n")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    write(secrets / variable, text)
    monkeypatch.setenv("METERPORT_SECRETS_DIR", str(secrets))

    assert refusal(config) == message.format(place=f" (in {secrets})")


def test_what_is_wrong_in_a_variable_or_a_flag_is_not_looked_for_in_the_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path / "m.yaml", "server: {port: 8888, host: localhost}\n")

    assert refusal(config, server={"port": -1}) == "server.port: Input should be greater than or equal to 0"
    monkeypatch.setenv("METERPORT_SERVER__PORT", "-1")
    assert refusal(config) == "server.port: Input should be greater than or equal to 0"


def test_a_flag_that_is_wrong_is_refused_by_name() -> None:
    assert refusal(server={"port": -1}) == "server.port: Input should be greater than or equal to 0"
    assert refusal(prot=1) == "prot: unknown setting"
