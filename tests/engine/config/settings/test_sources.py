"""The sources of settings, their order of precedence, and secret files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.files import SECRETS_VARIABLE
from engine.config.loading import load_settings
from tests.engine.config.settings.sample_settings import KEY, TOKEN_KEY, refusal, write

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
