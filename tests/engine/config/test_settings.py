"""The sources of settings, their order of precedence, and the one line that says what is wrong with them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from engine.config.files import SECRETS_VARIABLE
from engine.config.kafka_settings import OWN_KAFKA_OPTIONS
from engine.config.loading import load_settings
from engine.config.settings import Settings, setting_names, variable_name
from engine.config.show import settings_yaml
from engine.errors import ConfigurationError

KEY = "a-management-key-nobody-guesses"
TOKEN_KEY = "0123456789abcdef-signing"  # noqa: S105 - a sample
PASSWORD = "sesame-open"  # noqa: S105
BROKER_PASSWORD = "abracadabra"  # noqa: S105
OPTIONS = {"sasl.oauthbearer.client.secret": "hocus-pocus"}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in setting_names():
        monkeypatch.delenv(variable_name(setting), raising=False)
    monkeypatch.delenv(SECRETS_VARIABLE, raising=False)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(config: Path | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(config, overrides)
    return str(refused.value)


# --- order ------------------------------------------------------------------------------------------------------------

SOURCES = ["default", "file", "secret", "variable", "flag"]
LEVELS = {"default": "info", "file": "debug", "secret": "warning", "variable": "error", "flag": "debug"}


@pytest.mark.parametrize("highest", SOURCES)
def test_a_flag_wins_over_a_variable_over_a_secret_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, highest: str
) -> None:
    given = SOURCES[: SOURCES.index(highest) + 1]
    config = write(tmp_path / "meterport.yaml", f"log_level: {LEVELS['file']}\n") if "file" in given else None
    if "secret" in given:
        write(tmp_path / "METERPORT_LOG_LEVEL", LEVELS["secret"])
        monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path))
    if "variable" in given:
        monkeypatch.setenv("METERPORT_LOG_LEVEL", LEVELS["variable"])
    overrides = {"log_level": LEVELS["flag"]} if "flag" in given else {}

    assert load_settings(config, overrides).log_level == LEVELS[highest]


def test_sources_are_merged_within_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(
        tmp_path / "meterport.yaml", "server:\n  port: 1000\n  shutdown_seconds: 7\n  body_limit_bytes: 2048\n"
    )
    monkeypatch.setenv("METERPORT_SERVER__PORT", "2000")
    monkeypatch.setenv("METERPORT_SERVER__SHUTDOWN_SECONDS", "8")

    server = load_settings(config, overrides={"server": {"port": 3000}}).server

    assert (server.port, server.shutdown_seconds, server.body_limit_bytes) == (3000, 8, 2048)
    assert server.host == "127.0.0.1"


def test_a_whole_group_may_be_one_variable_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERPORT_INGEST", '{"batch_rows": 5, "interval_seconds": 0.5}')
    monkeypatch.setenv("METERPORT_PORTAL__TOKEN_KEYS", f'["{TOKEN_KEY}"]')

    loaded = load_settings()

    assert (loaded.ingest.batch_rows, loaded.ingest.interval_seconds) == (5, 0.5)
    assert [key.get_secret_value() for key in loaded.portal.token_keys] == [TOKEN_KEY]


def test_keys_may_lie_in_secret_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "METERPORT_API_KEY", f"{KEY}\n")
    write(tmp_path / "meterport_portal__token_keys", f'["{TOKEN_KEY}"]')
    write(tmp_path / "README", "not ours")
    monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path))

    loaded = load_settings()

    assert loaded.api_key is not None
    assert loaded.api_key.get_secret_value() == KEY
    assert [key.get_secret_value() for key in loaded.portal.token_keys] == [TOKEN_KEY]


def test_a_secret_file_of_no_setting_and_a_directory_that_is_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "METERPORT_APIKEY", KEY)
    monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path))
    assert refusal() == f"METERPORT_APIKEY: no such setting (in {tmp_path}), did you mean METERPORT_API_KEY?"

    monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path / "gone"))
    assert refusal() == f"METERPORT_SECRETS_DIR: {tmp_path}/gone is not a directory"


SECRET_FILES = {
    "no JSON list": (
        lambda file: write(file.with_name("METERPORT_PORTAL__TOKEN_KEYS"), TOKEN_KEY),
        'METERPORT_PORTAL__TOKEN_KEYS: must be a JSON list such as ["a", "b"] (in {})',
    ),
    "no JSON of a group": (
        lambda file: write(file.with_name("METERPORT_STORE"), "http://clickhouse:8123"),
        'METERPORT_STORE: must be a JSON object such as {{"a": "b"}} (in {})',
    ),
    "not UTF-8": (lambda file: file.write_bytes(b"key\xff"), "{}/METERPORT_API_KEY is not UTF-8: byte 4"),
    "a directory": (lambda file: file.mkdir(), "cannot read {}/METERPORT_API_KEY: Is a directory"),
    "a link to nothing": (
        lambda file: file.symlink_to("gone"),
        "cannot read {}/METERPORT_API_KEY: No such file or directory",
    ),
    "a link out of the directory": (
        lambda file: file.symlink_to("/etc/hostname"),
        "cannot read {}/METERPORT_API_KEY: it is a link that leads out of the directory",
    ),
}


@pytest.mark.parametrize(("made", "told"), SECRET_FILES.values(), ids=SECRET_FILES)
def test_a_secret_file_that_cannot_be_read_is_named_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], object], told: str
) -> None:
    """Otherwise the API would be open without its key."""
    made(tmp_path / "METERPORT_API_KEY")
    monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path))

    assert refusal() == told.format(tmp_path)


def test_secret_files_may_be_links_within_their_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes mounts them this way."""
    (tmp_path / "..2026_03_01").mkdir()
    write(tmp_path / "..2026_03_01" / "METERPORT_API_KEY", KEY)
    (tmp_path / "..data").symlink_to("..2026_03_01")
    (tmp_path / "METERPORT_API_KEY").symlink_to("..data/METERPORT_API_KEY")
    monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path))

    key = load_settings().api_key

    assert key is not None
    assert key.get_secret_value() == KEY


@pytest.mark.parametrize("variable", [SECRETS_VARIABLE, "METERPORT_DATA_DIR"])
def test_an_empty_variable_is_not_the_directory_the_process_happens_to_be_in(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "")

    assert refusal().endswith(": must not be empty")


def test_meters_are_listed_in_the_file(tmp_path: Path) -> None:
    config = write(tmp_path / "m.yaml", "meters:\n  - {slug: calls, eventType: call, aggregation: COUNT}\n")

    assert load_settings(config).meters == [{"slug": "calls", "eventType": "call", "aggregation": "COUNT"}]


def test_an_empty_file_is_no_setting(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path / "m.yaml", "# nothing\n")) == load_settings()


# --- what is refused --------------------------------------------------------------------------------------------------

EARLIEST = "ingest.earliest_time: must be an RFC 3339 timestamp with an offset, from 1970 on"
HEADER = "api_key: must be visible ASCII characters without spaces: a request cannot send others"
FILES = {
    "an unknown setting": ("prot: 1\n", "prot: unknown setting"),
    "an unknown setting of a group": ("server:\n  prot: 1\n", "server.prot: unknown setting"),
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


@pytest.mark.parametrize("name", ["METERPORT_METERS", "METERPORT_PORTAL__TOKEN_KEYS", "METERPORT_SERVER__CORS_ORIGINS"])
def test_a_variable_that_is_not_the_json_it_should_be_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "a,b")

    assert refusal() == f'{name}: must be a JSON list such as ["a", "b"]'


def test_a_flag_that_is_wrong_is_refused_by_name() -> None:
    assert refusal(server={"port": -1}) == "server.port: Input should be greater than or equal to 0"
    assert refusal(prot=1) == "prot: unknown setting"


def test_variables_of_the_test_suite_are_nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERPORT_TEST_ANYTHING", "1")

    assert load_settings().server.port == 8888


INJECTED = {
    "METERPORT_SERVICE_HOST": "10.0.0.1",
    "METERPORT_SERVICE_PORT": "8888",
    "METERPORT_SERVICE_PORT_HTTP": "8888",
    "METERPORT_SERVICE_PORT_HTTP_ALT": "8889",
    "METERPORT_PORT": "tcp://10.0.0.1:8888",
    "METERPORT_PORT_8888_TCP": "tcp://10.0.0.1:8888",
    "METERPORT_PORT_8888_TCP_PROTO": "tcp",
    "METERPORT_PORT_8888_TCP_PORT": "8888",
    "METERPORT_PORT_8888_TCP_ADDR": "10.0.0.1",
    "METERPORT_API_SERVICE_HOST": "fd00::7",
    "METERPORT_API_PORT": "tcp://[fd00::7]:80",
    "METERPORT_SERVER_PORT": "tcp://10.0.0.2:8888",
    "METERPORT_SERVER_SERVICE_PORT": "8888",
    "METERPORT_KAFKA_PORT": "tcp://10.0.0.3:9092",
    "METERPORT_KAFKA_PORT_9092_UDP": "udp://10.0.0.3:9092",
    "METERPORT_KAFKA_PORT_9092_SCTP_PROTO": "sctp",
    "METERPORT_STORE_0_EU_SERVICE_HOST": "10.0.0.4",
}


@pytest.mark.parametrize(("name", "value"), INJECTED.items(), ids=INJECTED)
def test_a_variable_that_kubernetes_injects_for_a_service_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """N1: before, it ended all commands with status 78."""
    monkeypatch.setenv(name, value)

    assert load_settings() == Settings()


def test_all_variables_of_a_service_are_passed_over_beside_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """N1."""
    for name, value in INJECTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("METERPORT_SERVER__PORT", "9000")

    assert load_settings().server.port == 9000


@pytest.mark.parametrize("name", ["METERPORT_VERSION", "METERPORT_IMAGE", "METERPORT_IMAGE_TAG", "METERPORT_TAG"])
def test_what_an_image_says_of_itself_is_passed_over(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Like N1: images and CI use variables with the same prefix."""
    monkeypatch.setenv(name, "1.2")

    assert load_settings() == Settings()


MISTYPED = {
    "METERPORT_PORT": "9000",
    "METERPORT_SERVER_PORT": "9000",
    "METERPORT_SERVER_HOST": "10.0.0.1",
    "METERPORT_SERVICE_HOST": "0.0.0.0",  # noqa: S104 - refused
    "METERPORT_SERVICE_PORT": "http",
    "METERPORT_SERVER__SERVICE_PORT": "8888",
    "METERPORT_PORT_8888_TCP": "8888",
    "METERPORT_PORT_8888_HTTP": "tcp://10.0.0.1:8888",
    "METERPORT_PORT_8888_TCP_HOST": "10.0.0.1",
    "METERPORT_KAFKA_BROKERS": "tcp://10.0.0.3:9092",
    "METERPORT_VERSIONS": "1.2",
    "meterport_service_host": "10.0.0.1",
}


@pytest.mark.parametrize(("name", "value"), MISTYPED.items(), ids=MISTYPED)
def test_a_variable_that_is_only_like_an_injected_one_is_still_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """N1: a user who forgets an underscore must get an error."""
    monkeypatch.setenv(name, value)

    assert refusal().partition(",")[0] in {f"{name}: no such setting", "server.service_port: unknown setting"}


@pytest.mark.parametrize("name", ["METERPORT_SERVICE_PORT", "METERPORT_VERSION"])
def test_a_secret_file_named_as_an_injected_variable_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """N1: only the operator puts files there."""
    write(tmp_path / name, "8888")
    monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path))

    assert refusal() == f"{name}: no such setting (in {tmp_path})"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com", ""])  # noqa: S104 - refused
def test_without_a_key_only_loopback_is_served(host: str) -> None:
    assert refusal(server={"host": host}) == f"server.host: {host} is not loopback and no api_key is set"


WEAK = {
    "a": "has fewer than 16 characters",
    "fifteen-letters": "has fewer than 16 characters",
    "aaaaaaaaaaaaaaaaaaaaaaaa": "has fewer than 5 different characters",
    "abcdabcdabcdabcdabcd": "has fewer than 5 different characters",
    "passwordpassword": "repeats a few characters",
    "secretsecretsecretse": "repeats a few characters",
    "abcdefghijklmnop": "is a sequence of consecutive characters",
    "ponmlkjihgfedcba": "is a sequence of consecutive characters",
}


@pytest.mark.parametrize(("key", "reason"), WEAK.items())
def test_a_weak_api_key_is_taken_on_loopback_alone(key: str, reason: str) -> None:
    """Case S12."""
    advice = "make one with `openssl rand -base64 32`"

    assert load_settings(overrides={"api_key": key}).api_key is not None
    assert load_settings(overrides={"api_key": key, "server": {"host": "10.0.0.5"}}, listens=False).api_key is not None
    for host in ("0.0.0.0", "10.0.0.5", "::"):  # noqa: S104 - settings, nothing is bound
        refused = refusal(api_key=key, server={"host": host})
        assert refused == f"api_key: the key {reason}, but {host} is not loopback: {advice}"


@pytest.mark.parametrize(("key", "reason"), WEAK.items())
def test_a_weak_signing_key_is_refused(key: str, reason: str) -> None:
    """Case S12: an attacker who guesses it can sign tokens for any subject."""
    assert refusal(portal={"token_keys": [TOKEN_KEY, key]}) == f"portal.token_keys: a key {reason}"


@pytest.mark.parametrize(
    "key",
    ["0f8fad5b-d9cb-469f-a165-70867728950e", "9f86d081884c7d65", "correct horse battery staple", "a-b-c-d-e-f-g-h-a"],
)
def test_a_key_with_nothing_wrong_to_be_seen_is_taken(key: str) -> None:
    loaded = load_settings(overrides={"portal": {"token_keys": [key]}})

    assert [kept.get_secret_value() for kept in loaded.portal.token_keys] == [key]


@pytest.mark.parametrize("key", [{"api_key": KEY}, {"api_key_sha256": "0f" * 32}], ids=["the key", "its digest"])
def test_with_a_key_any_address_is_served(key: dict[str, str]) -> None:
    assert load_settings(overrides={"server": {"host": "0.0.0.0"}, **key}).api_key_digest is not None  # noqa: S104


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    assert load_settings(overrides={"server": {"host": host}}).api_key_digest is None


def test_a_digest_of_another_key_is_refused() -> None:
    refused = refusal(api_key=KEY, api_key_sha256="0f" * 32)

    assert refused == "api_key_sha256: is not the SHA-256 of api_key; set only one of them"
    assert KEY not in refused


def test_a_key_is_compared_by_its_digest() -> None:
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of abc

    assert load_settings(overrides={"api_key": "abc"}).api_key_digest == bytes.fromhex(digest)
    assert load_settings(overrides={"api_key_sha256": digest}).api_key_digest == bytes.fromhex(digest)


# --- Kafka ------------------------------------------------------------------------------------------------------------


def test_options_of_librdkafka_are_one_variable_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERPORT_KAFKA__BROKERS", "one:9092,two:9092")
    monkeypatch.setenv("METERPORT_KAFKA__OPTIONS", '{"client.rack": "eu-1a", "ssl.key.pem": "a key"}')

    kafka = load_settings().kafka

    assert (kafka.brokers, kafka.topic, kafka.group, kafka.partitions) == (
        "one:9092,two:9092", "om_default_events", "meterport", 12,
    )  # fmt: skip
    assert {name: value.get_secret_value() for name, value in kafka.options.items()} == {
        "client.rack": "eu-1a",
        "ssl.key.pem": "a key",
    }


def test_without_brokers_there_is_no_kafka() -> None:
    assert load_settings().kafka.brokers is None


@pytest.mark.parametrize("name", sorted(OWN_KAFKA_OPTIONS))
def test_an_option_that_would_break_exactly_once_is_refused(name: str) -> None:
    refused = refusal(kafka={"options": {"client.rack": "eu-1a", name: PASSWORD}})

    assert refused == f"kafka.options: {name} is set by Meterport: with another value usage would not be exact"


KAFKA = {
    "options that are no object": (
        {"options": ["acks"]},
        "kafka.options: Input should be a valid dictionary",
    ),
    "dead letters among the events": (
        {"topic": "usage", "dead_letter_topic": "usage"},
        "kafka: dead_letter_topic must not be the topic of events",
    ),
    "SASL without a mechanism": (
        {"security_protocol": "SASL_SSL", "sasl_username": "meterport"},
        "kafka: sasl_mechanism and security_protocol SASL_SSL or SASL_PLAINTEXT must be set together",
    ),
    "a mechanism that would not be used": (
        {"sasl_mechanism": "PLAIN", "sasl_password": PASSWORD},
        "kafka: sasl_mechanism and security_protocol SASL_SSL or SASL_PLAINTEXT must be set together",
    ),
    "a topic that is no name": (
        {"topic": "a topic"},
        "kafka.topic: String should match pattern '^[A-Za-z0-9._-]{1,249}$'",
    ),
    "a group protocol that is none": (
        {"group_protocol": "newest"},
        "kafka.group_protocol: String should match pattern '^(auto|consumer|classic)$'",
    ),
    "an unknown setting": ({"broker": "one:9092"}, "kafka.broker: unknown setting"),
}


@pytest.mark.parametrize(("given", "message"), KAFKA.values(), ids=KAFKA)
def test_wrong_settings_of_kafka_are_refused_by_name(given: dict[str, object], message: str) -> None:
    assert refusal(kafka={"brokers": "one:9092", **given}) == message


def test_a_mechanism_may_be_given_as_an_option() -> None:
    options = {"sasl.mechanism": "PLAIN"}

    assert load_settings(overrides={"kafka": {"security_protocol": "SASL_SSL", "options": options}}).kafka.options


def test_options_that_are_no_json_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERPORT_KAFKA__OPTIONS", "client.rack=eu-1a")

    assert refusal() == 'METERPORT_KAFKA__OPTIONS: must be a JSON object such as {"a": "b"}'


# --- secrets ----------------------------------------------------------------------------------------------------------


def _secretive() -> Settings:
    return load_settings(
        overrides={
            "api_key": KEY,
            "portal": {"token_keys": [TOKEN_KEY]},
            "store": {"url": f"https://meterport:{PASSWORD}@clickhouse:8443"},
            "kafka": {"sasl_password": BROKER_PASSWORD, "ssl_key_password": BROKER_PASSWORD, "options": OPTIONS}
            | {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"},
        }
    )


def test_secrets_are_masked_wherever_settings_are_printed() -> None:
    loaded = _secretive()

    printed = [repr(loaded), str(loaded), loaded.model_dump_json(), settings_yaml(loaded, {}, None)]

    for text in printed:
        assert "**********" in text
        secrets = (KEY, TOKEN_KEY, PASSWORD, BROKER_PASSWORD, *OPTIONS.values())
        assert not [secret for secret in secrets if secret in text]


def test_a_refused_secret_is_not_repeated() -> None:
    refused = refusal(portal={"token_keys": ["too-short"]}) + refusal(api_key_sha256="not-a-digest")

    assert "too-short" not in refused
    assert "not-a-digest" not in refused


def test_settings_cannot_be_changed_once_built() -> None:
    loaded = load_settings()

    with pytest.raises(ValueError):
        setattr(loaded, "log_level", "debug")  # noqa: B010 - mypy knows it cannot be set
    with pytest.raises(ValueError):
        setattr(loaded.server, "port", 1)  # noqa: B010


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in setting_names().items() if not field.description] == []


def test_the_settings_in_force_are_settings_again(tmp_path: Path) -> None:
    first = load_settings(
        overrides={"server": {"port": 1234}, "meters": [{"slug": "a", "eventType": "t", "aggregation": "COUNT"}]}
    )
    listed = settings_yaml(first, {}, None)

    again = yaml.safe_load(listed)

    again = {name: value for name, value in again.items() if value is not None}
    assert load_settings(write(tmp_path / "m.yaml", yaml.safe_dump(again))) == first
