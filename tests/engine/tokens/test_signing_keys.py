"""The keys that sign portal tokens: configured ones, and one that is made once for a data directory."""

import stat
import threading
from pathlib import Path

import pytest

from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.errors import ConfigurationError
from engine.tokens.signing_keys import load_token_keys
from tests.engine.tokens.signed_tokens import KEY, OLD_KEY

pytestmark = pytest.mark.thorough


def keyless(directory: Path) -> Settings:
    return load_settings(overrides={"data_dir": directory})


def test_configured_keys_are_taken_in_their_order_and_none_is_made(tmp_path: Path) -> None:
    settings = load_settings(overrides={"data_dir": tmp_path, "portal": {"token_keys": [KEY, OLD_KEY]}})

    assert load_token_keys(settings) == [KEY, OLD_KEY]
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    made = load_token_keys(keyless(tmp_path / "data"))
    again = load_token_keys(keyless(tmp_path / "data"))

    kept = tmp_path / "data" / "portal_token_key"
    assert made == again == [kept.read_text()]
    assert len(made[0]) == 43
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert list(kept.parent.iterdir()) == [kept]


def test_two_directories_have_two_keys(tmp_path: Path) -> None:
    assert load_token_keys(keyless(tmp_path / "a")) != load_token_keys(keyless(tmp_path / "b"))


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    keys: list[str] = []

    def begin() -> None:
        start.wait()
        keys.extend(load_token_keys(keyless(tmp_path)))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["portal_token_key"]


@pytest.mark.parametrize(
    "content", [b"", b"short\n", b"a" * 43, b"\xff" * 40], ids=["empty", "short", "weak", "not ASCII"]
)
def test_a_key_file_that_holds_no_key_stops_the_process(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "portal_token_key").write_bytes(content)
    (tmp_path / "portal_token_key").chmod(0o600)

    with pytest.raises(ConfigurationError, match="portal_token_key"):
        load_token_keys(keyless(tmp_path))


def test_a_weak_key_file_is_replaced_when_it_is_deleted_as_the_message_says(tmp_path: Path) -> None:
    path = tmp_path / "portal_token_key"
    path.write_text("a" * 43)
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match="different characters: delete the file, and a new key is made; the "):
        load_token_keys(keyless(tmp_path))
    path.unlink()

    assert load_token_keys(keyless(tmp_path)) != ["a" * 43]


def test_a_directory_that_cannot_hold_a_key_stops_the_process(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the directory should be")

    with pytest.raises(ConfigurationError, match="data_dir: cannot create or read the token key"):
        load_token_keys(keyless(tmp_path / "data"))
