"""Settings on the command line: `config show` masks secrets, and wrong settings end a command with one line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.command import meterport


def test_config_show_masks_secrets_and_names_sources(tmp_path: Path) -> None:
    config = tmp_path / "meterport.yaml"
    config.write_text(
        "api_key: top-secret-key\n"
        "portal: {token_keys: [the-newest-signing-key, the-older-signing-key]}\n"
        "store: {url: 'http://user:password@db:8123'}\n"
        "server: {port: 9999}\n"
        "meters: [{slug: calls, eventType: call, aggregation: COUNT}]\n"
        "kafka: {sasl_password: abracadabra, options: {ssl.key.pem: abracadabra}, security_protocol: SASL_SSL}\n"
    )

    shown = meterport(
        "config", "show", "--config", str(config), "--data-dir", "elsewhere",
        variables={
            "METERPORT_LOG_LEVEL": "debug",
            "METERPORT_INGEST": '{"batch_rows": 5}',
            "METERPORT_KAFKA__SASL_MECHANISM": "PLAIN",
        },
    )  # fmt: skip

    assert shown.returncode == 0, shown.stderr
    for secret in ("top-secret", "signing-key", "user:", "db:8123", "abracadabra"):
        assert secret not in shown.stdout
    lines = shown.stdout.splitlines()
    assert f"api_key: '**********'  # from {config}" in lines
    assert f"  port: 9999  # from {config}" in lines
    assert "data_dir: elsewhere  # from the command line" in lines
    assert "log_level: debug  # from METERPORT_LOG_LEVEL" in lines
    assert "  batch_rows: 5  # from METERPORT_INGEST" in lines
    assert "  host: 127.0.0.1" in lines
    assert "- slug: calls" in lines
    assert f"  sasl_password: '**********'  # from {config}" in lines
    assert "  sasl_mechanism: PLAIN  # from METERPORT_KAFKA__SASL_MECHANISM" in lines
    assert "    ssl.key.pem: '**********'" in lines


@pytest.mark.parametrize(
    ("yaml", "variables", "line"),
    [
        ("colour: red\n", {}, "meterport: colour: unknown setting (in the configuration file)\n"),
        ("server: {port: -1}\n", {}, "meterport: server.port: Input should be greater than or equal to 0"),
        ("- 1\n", {}, "must contain settings by name\n"),
        ("a: [\n", {}, "is not YAML: "),
        ("", {"METERPORT_COLOUR": "red"}, "meterport: METERPORT_COLOUR: no such setting\n"),
        ("", {"METERPORT_LOG__MAX_BYTES": "lots"}, "meterport: log.max_bytes: "),
        ("", {"METERPORT_STORE__URL": ""}, "meterport: store.url: must be http(s)://host:port\n"),
        ("", {"METERPORT_STORE__URL": "clickhouse:8123"}, "meterport: store.url: must be http(s)://"),
        ("", {"METERPORT_STORE__URL": "http://clickhouse:http"}, "meterport: store.url: must be http(s)://"),
        ("", {"METERPORT_KAFKA__BROKERS": ""}, "meterport: kafka.brokers: String should have at least 1 character"),
    ],
    ids=[
        *("unknown", "out of range", "no mapping", "no YAML", "unknown variable", "no number"),
        *("no store", "no scheme", "no port", "no brokers"),
    ],
)
def test_bad_settings_end_with_78_and_one_line(tmp_path: Path, yaml: str, variables: dict[str, str], line: str) -> None:
    config = tmp_path / "meterport.yaml"
    config.write_text(yaml)

    for command in (("config", "show"), ("meters", "list")):
        answer = meterport(*command, "--config", str(config), variables=variables)
        assert (answer.returncode, answer.stdout) == (78, "")
        assert line in answer.stderr
        assert answer.stderr.count("\n") == 1


GOOD = "  - {slug: good, eventType: call, aggregation: COUNT}\n"


@pytest.fixture(scope="module")
def unmade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a data directory, and check at the end that it has no meter."""
    directory = tmp_path_factory.mktemp("unmade") / "data"
    yield directory
    assert meterport("meters", "list", "--format", "json", data_dir=directory).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{slug: m, eventType: _internal, aggregation: COUNT}", ".eventType: event type '_internal' matched reserved"),
        ("{slug: m, eventType: call, aggregation: COUNT, groupby: {}}", ".groupby: no such member of a meter"),
        ("{slug: m, eventType: call, aggregation: COUNT, descripton: x}", ".descripton: no such member of a meter"),
        ("{slug: m, aggregation: COUNT}", ".eventType: Field required"),
        ("{slug: m, eventType: call, aggregation: TOTAL}", ".aggregation: Input should be 'SUM', "),
        ("{slug: m, eventType: call, aggregation: SUM}", ": invalid meter aggregation: meter value property is req"),
        ("{slug: m, eventType: call, aggregation: SUM, valueProperty: $..a}", ": invalid JSONPath: $..a"),
        ("{slug: good, eventType: call, aggregation: COUNT}", ".slug: duplicate slug good"),
    ],
    ids=["reserved", "case", "misspelt", "missing", "enum", "rule", "path", "twice"],
)
def test_a_wrong_meter_of_the_settings_ends_the_start_before_any_is_made(
    tmp_path: Path, unmade: Path, wrong: str, told: str
) -> None:
    """Contract 2.1: the API's checks apply to it, and the message names its place in the settings."""
    config = tmp_path / "meterport.yaml"
    config.write_text(f"reserved_event_types: ['^_']\nmeters:\n{GOOD}  - {wrong}\n")

    started = meterport("meters", "list", "--config", str(config), data_dir=unmade)

    assert (started.returncode, started.stdout) == (78, "")
    assert started.stderr.startswith(f"meterport: meters[1]{told}")
    assert started.stderr.count("\n") == 1


KAFKA, STORE = "METERPORT_KAFKA__BROKERS", "METERPORT_STORE__URL"


@pytest.mark.parametrize("command", ["api", "ingest"])
@pytest.mark.parametrize(
    ("variables", "missing"),
    [({}, "store.url"), ({KAFKA: "127.0.0.1:1"}, "store.url"), ({STORE: "http://127.0.0.1:1"}, "kafka.brokers")],
    ids=["neither", "no store", "no brokers"],
)
def test_a_part_of_meterport_says_which_setting_it_lacks(command: str, variables: dict[str, str], missing: str) -> None:
    keys = {"METERPORT_PORTAL__TOKEN_KEYS": '["a-signing-key-of-tests"]'}

    answer = meterport(command, variables={**keys, **variables})

    assert (answer.returncode, answer.stdout) == (78, "")
    assert answer.stderr == (
        f"meterport: {missing}: `meterport {command}` needs it; without it, use `meterport serve`\n"
    )


def test_ingest_needs_no_api_key_wherever_the_api_listens() -> None:
    """All processes may share one settings file. `ingest` listens only on the telemetry port."""
    shared = {
        "METERPORT_SERVER__HOST": "192.0.2.1",
        "METERPORT_PORTAL__TOKEN_KEYS": '["a-signing-key-of-tests"]',
        KAFKA: "127.0.0.1:1",
    }

    telemetry = {"METERPORT_SERVER__TELEMETRY_HOST": "192.0.2.1", "METERPORT_SERVER__TELEMETRY_PORT": "0"}
    ingest = meterport("ingest", variables={**shared, **telemetry, STORE: "http://127.0.0.1:1"})
    api = meterport("api", variables={**shared, STORE: "http://127.0.0.1:1"})

    assert ingest.returncode == 70
    assert "api_key" not in ingest.stderr
    assert "store_awaited" in ingest.stderr  # it would have waited
    assert ingest.stderr.splitlines()[-1].startswith("meterport: server.telemetry_port: cannot listen on 192.0.2.1:0: ")
    assert (api.returncode, api.stderr) == (
        78,
        "meterport: server.host: 192.0.2.1 is not loopback and no api_key is set: set METERPORT_API_KEY, or listen on "
        "127.0.0.1\n",
    )
