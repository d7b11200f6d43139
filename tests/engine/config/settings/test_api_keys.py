"""Several management keys: their form, what is refused, the rules for addresses, and that no key is shown."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.files import SECRETS_VARIABLE
from engine.config.loading import load_settings
from engine.config.redaction import secrets_of
from engine.config.show import settings_yaml
from tests.engine.config.settings.sample_settings import KEY, TOKEN_KEY, refusal, write

OLD, NEW = "the-old-key-of-producers", "the-new-key-of-producers"
DIGEST = "0f" * 32
ANY_ADDRESS: dict[str, Any] = {"server": {"host": "0.0.0.0"}}  # noqa: S104 - a setting, nothing is bound


def entry(name: str = "producers", key: str | None = OLD, **members: object) -> dict[str, object]:
    given = {"name": name, "key": key, "scopes": ["ingest"], **members}
    return {member: value for member, value in given.items() if value is not None}


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def test_every_key_has_its_name_its_digest_and_its_scopes() -> None:
    loaded = load_settings(
        overrides={
            "api_key": KEY,
            "api_keys": [
                entry("old"),
                entry("new", NEW, scopes=["ingest", "query", "ingest"]),
                entry("hashed", None, key_sha256=DIGEST, scopes=["tokens"]),
            ],
        }
    )

    assert [(key.name, key.digest, set(key.scopes)) for key in loaded.management_keys] == [
        ("default", digest(KEY), {"admin"}),
        ("old", digest(OLD), {"ingest"}),
        ("new", digest(NEW), {"ingest", "query"}),
        ("hashed", bytes.fromhex(DIGEST), {"tokens"}),
    ]


def test_without_any_key_there_is_none() -> None:
    assert load_settings().management_keys == []


def test_the_digest_of_the_one_key_is_a_key_that_may_do_everything() -> None:
    [key] = load_settings(overrides={"api_key_sha256": DIGEST}).management_keys

    assert (key.name, key.digest, set(key.scopes)) == ("default", bytes.fromhex(DIGEST), {"admin"})


LONG_NAME = "n" * 64
SCOPES = "ingest, query, tokens, admin"
NO_SCOPES = f'api_keys[0]: "producers" has no scopes: give it one or more of {SCOPES}'
BAD_NAME = "api_keys[0].name: must be 1 to 64 visible ASCII characters without spaces"
BAD_DIGEST = (
    "api_keys[0].key_sha256: must be the SHA-256 of the key in hex: 64 digits and lower-case letters from a to f"
)
HEADER = "api_keys[0].key: must be visible ASCII characters without spaces: a request cannot send others"
REFUSED: dict[str, tuple[list[object], str]] = {
    "a name twice": ([entry("a"), entry("b", NEW), entry("a", KEY)], 'api_keys: two keys are named "a"'),
    "a key twice": ([entry("a"), entry("b")], 'api_keys: the keys named "a" and "b" are the same'),
    "a key and its digest": (
        [entry("a"), entry("b", None, key_sha256=digest(OLD).hex())],
        'api_keys: the keys named "a" and "b" are the same',
    ),
    "a digest twice": (
        [entry("a", None, key_sha256=DIGEST), entry("b", None, key_sha256=DIGEST)],
        'api_keys: the keys named "a" and "b" are the same',
    ),
    "key and digest": (
        [entry("a"), entry("b", NEW, key_sha256=DIGEST)],
        'api_keys[1]: "b" has both key and key_sha256: set only one of them',
    ),
    "neither": ([entry(key=None)], 'api_keys[0]: "producers" has neither key nor key_sha256: set one of them'),
    "no scopes": ([entry(scopes=[])], NO_SCOPES),
    "scopes left out": ([entry(scopes=None)], NO_SCOPES),
    "an unknown scope": (
        [entry(scopes=["ingest", OLD])],
        f'api_keys[0]: "producers" has an unknown scope: the scopes are {SCOPES}',
    ),
    "a scope in capitals": (
        [entry(scopes=["Ingest"])],
        f'api_keys[0]: "producers" has an unknown scope: the scopes are {SCOPES}',
    ),
    "scopes that are no list": ([entry(scopes="ingest")], "api_keys[0].scopes: Input should be a valid list"),
    "no name": ([{"key": OLD, "scopes": ["ingest"]}], "api_keys[0].name: Field required"),
    "an empty name": ([entry("")], BAD_NAME),
    "a name with a space": ([entry("our producers")], BAD_NAME),
    "a name with a line's end": ([entry("a\n")], BAD_NAME),
    "a name of other letters": ([entry("schlüssel")], BAD_NAME),
    "a name of 65 characters": ([entry(LONG_NAME + "n")], BAD_NAME),
    "the key as name": ([entry(OLD)], "api_keys[0]: the name is the key itself: choose a name that may be shown"),
    "an empty key": ([entry(key="")], "api_keys[0].key: must not be empty"),
    "a key of two words": ([entry(key=f"{OLD} x")], HEADER),
    "a key that is a number": ([entry() | {"key": 123}], "api_keys[0].key: Input should be a valid string"),
    "a digest too short": ([entry(key=None, key_sha256=DIGEST[1:])], BAD_DIGEST),
    "a digest in capitals": ([entry(key=None, key_sha256=DIGEST.upper())], BAD_DIGEST),
    "an unknown member": ([entry(scope=["ingest"])], "api_keys[0].scope: unknown setting"),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "message"), REFUSED.values(), ids=REFUSED)
def test_an_entry_that_is_wrong_is_named_and_its_key_is_not_repeated(keys: list[object], message: str) -> None:
    refused = refusal(api_keys=keys)

    assert refused == message
    assert not [secret for secret in (OLD, NEW, KEY, DIGEST, DIGEST[1:]) if secret in refused]


def test_a_name_of_64_characters_is_taken() -> None:
    [key] = load_settings(overrides={"api_keys": [entry(LONG_NAME)]}).management_keys

    assert key.name == LONG_NAME


@pytest.mark.parametrize(
    ("keys", "conflict"),
    [
        ([entry("default")], 'two keys are named "default"'),
        ([entry("a"), entry("b", KEY)], 'the keys named "default" and "b" are the same'),
    ],
)
def test_a_server_does_not_start_if_the_list_has_its_one_key_too(keys: list[object], conflict: str) -> None:
    """It would be unclear what the key may do."""
    refused = refusal(api_key=KEY, api_keys=keys)

    assert refused == f'api_keys: {conflict}; api_key is named "default"'
    assert load_settings(overrides={"api_keys": keys}).api_key is None, "a name may be free"


@pytest.mark.parametrize(("listens", "serves"), [(True, False), (False, True)], ids=["a command", "ingest"])
def test_a_process_that_does_not_serve_may_have_one_of_the_listed_keys(listens: bool, serves: bool) -> None:
    """In a command, `api_key` is the key that it sends: the file of its server may list the same key."""
    given = {"api_key": KEY, "api_keys": [entry("a", KEY)]}

    assert load_settings(overrides=given, listens=listens, serves=serves).api_key is not None


@pytest.mark.parametrize("key", [entry(), entry(key=None, key_sha256=DIGEST)], ids=["the key", "its digest"])
def test_with_a_listed_key_any_address_is_served(key: dict[str, object]) -> None:
    assert len(load_settings(overrides={"api_keys": [key], **ANY_ADDRESS}).management_keys) == 1


@pytest.mark.parametrize(
    ("key", "reason"),
    [("short", "has fewer than 16 characters"), ("passwordpassword", "repeats a few characters")],
)
def test_a_weak_key_in_the_list_is_taken_on_loopback_alone(key: str, reason: str) -> None:
    """Case S12."""
    keys = [entry("a"), entry("b", key)]

    refused = refusal(api_keys=keys, **ANY_ADDRESS)

    assert (
        refused
        == f'api_keys: the key named "b" {reason}, but 0.0.0.0 is not loopback: make one with `openssl rand -base64 32`'
    )
    assert len(load_settings(overrides={"api_keys": keys}).management_keys) == 2
    assert len(load_settings(overrides={"api_keys": keys, **ANY_ADDRESS}, listens=False).management_keys) == 2


@pytest.mark.parametrize("source", ["variable", "secret file", "file"])
def test_the_list_comes_from_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    config, text = None, json.dumps([entry("old"), entry("new", NEW)])
    if source == "variable":
        monkeypatch.setenv("METERPORT_API_KEYS", text)
    elif source == "secret file":
        write(tmp_path / "METERPORT_API_KEYS", f"{text}\n")
        monkeypatch.setenv(SECRETS_VARIABLE, str(tmp_path))
    else:
        config = write(tmp_path / "m.yaml", f"api_keys: {text}\n")

    assert [key.digest for key in load_settings(config).management_keys] == [digest(OLD), digest(NEW)]


@pytest.mark.parametrize("by_file", [False, True], ids=["variable", "secret file"])
def test_a_list_that_is_no_json_is_told_how_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_file: bool
) -> None:
    write(tmp_path / "METERPORT_API_KEYS", OLD)
    monkeypatch.setenv(*((SECRETS_VARIABLE, str(tmp_path)) if by_file else ("METERPORT_API_KEYS", OLD)))

    told = 'METERPORT_API_KEYS: must be a JSON list such as [{"a": "b"}]'
    assert refusal() == (f"{told} (in {tmp_path})" if by_file else told)


def test_listed_keys_are_masked_wherever_settings_are_printed() -> None:
    keys = [entry("old"), entry("hashed", None, key_sha256=DIGEST, scopes=["query", "tokens"])]
    loaded = load_settings(overrides={"api_keys": keys, "portal": {"token_keys": [TOKEN_KEY]}})

    shown = settings_yaml(loaded, {}, None)

    for text in (repr(loaded), str(loaded), loaded.model_dump_json(), shown):
        assert not [secret for secret in (OLD, DIGEST) if secret in text]
    assert (
        "api_keys:\n"
        "- name: old\n  key: '**********'\n  scopes:\n  - ingest\n"
        "- name: hashed\n  key_sha256: '**********'\n  scopes:\n  - query\n  - tokens\n"
    ) in shown
    assert {OLD, DIGEST} <= {*secrets_of(loaded)}, "no line of a log shows them either"
