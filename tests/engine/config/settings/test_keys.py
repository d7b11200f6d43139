"""API keys and signing keys: when one is needed, which are too weak, and how one is compared."""

import pytest

from engine.config.loading import load_settings
from tests.engine.config.settings.sample_settings import KEY, TOKEN_KEY, refusal


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com", ""])  # noqa: S104 - refused
def test_without_a_key_only_loopback_is_served(host: str) -> None:
    assert refusal(server={"host": host}) == (
        f"server.host: {host} is not loopback and no api_key is set: set METERPORT_API_KEY, or listen on 127.0.0.1"
    )


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
