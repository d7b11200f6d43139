"""No message of a library or of Meterport repeats a secret, even if the secret was given in a broken form.

Case S5 of the security audit: the usual cause is a password that begins with `@`, `%`, `*`, `!` or `&`.
"""

import itertools
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.config.files import SECRETS_VARIABLE
from engine.config.loading import load_settings
from engine.config.settings import setting_names, variable_name
from engine.config.show import settings_yaml
from engine.errors import ConfigurationError
from ingest.kafka.client import client_options, connect
from tests.harness.long_form import LONG

pytestmark = pytest.mark.thorough

PLANTED = "hunter2"  # part of every secret here: a message that contains it shows a secret
SIGNS = ["@", "%", "*", "!", "&", "`", "'", '"', "[", "{", "]", "}", "|", ">", ", ", "\t", ": ", " #", "\\", "- ", "? "]
SCALARS = [f"{sign}{PLANTED}-key" for sign in SIGNS] + [
    f"http://u:{PLANTED}: x@h",
    f"!!int {PLANTED}",
    f"!!bool {PLANTED}",
    f"!!float {PLANTED}",
    f"!!timestamp {PLANTED}",
    f"!!binary é{PLANTED}",
    f"!!python/name:{PLANTED} x",
    f"!<{PLANTED} x",
    f"!{PLANTED}!x y",
    f'"\\q{PLANTED}"',
    f'"{PLANTED}',
    f"'{PLANTED}",
    f'"{PLANTED}" {PLANTED}',
    f"{PLANTED}\n  k: x",
    f"&a {PLANTED}\n*a : *b{PLANTED}",
    f"[{PLANTED}",
    f"[[{PLANTED}]]",
    f"{{k: {PLANTED}",
    f"{{{PLANTED}:x}}",
    f"{{? [{PLANTED}] : x}}",
    f"{{<<: {PLANTED}}}",
    f"{{{PLANTED}: 1, {PLANTED}: 2}}",
    f"{{k: {PLANTED}, k: {PLANTED}}}",
    f"|9x\n  {PLANTED}",
    f"\x07{PLANTED}",
    f"{PLANTED}\n\tx: y",
    "[" * 2000 + PLANTED,
    "2026-13-45",
    f"{PLANTED} ",
]
PLACES = [
    "api_key: {}\n",
    "api_key:{}\n",
    "{{api_key:{}}}\n",
    "api_key {}\nlog_level: info\n",
    "api_key_sha256: {}\n",
    "api_keys: {}\n",
    "api_keys: [{{name: a, key: {}, scopes: [admin]}}]\n",
    "api_keys:\n- name: a\n  key: {}\n  scopes: [{}]\n",
    "api_keys:\n- name: a\n  key_sha256: {}\n",
    "api_keys:\n- name: a\n  key:{}\n",
    "portal:\n  token_keys: {}\n",
    "portal:\n  token_keys: [{}\n",
    "portal:\n  token_keys:\n  - {}\n  {}\n",
    "store:\n  url: {}\n",
    "store:\n  url:{}\n",
    "store: {{url:{}}}\n",
    "kafka: {{sasl_password: {}}}\n",
    "kafka:\n  ssl_key_password: {}\n  api_key\n",
    "kafka:\n  options:\n    ssl.key.password: {}\n",
    "kafka: {{options: {{sasl.password:{}}}}}\n",
]


def said_of(config: Path | None) -> str:
    """Return the output of a command: why it did not start, or the current settings."""
    try:
        return settings_yaml(load_settings(config), {}, config)
    except ConfigurationError as refused:
        return str(refused)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in setting_names():
        monkeypatch.delenv(variable_name(setting), raising=False)
    monkeypatch.delenv(SECRETS_VARIABLE, raising=False)


def test_no_fault_in_the_yaml_file_repeats_its_text(tmp_path: Path) -> None:
    """S5."""
    config = tmp_path / "meterport.yaml"
    shown = {}
    for place, scalar in list(itertools.product(PLACES, SCALARS))[:: 1 if LONG else 7]:
        config.write_text(place.format(*[scalar] * place.count("{}")), encoding="utf-8")
        said = said_of(config)
        if PLANTED in said:
            shown[config.read_text(encoding="utf-8")] = said

    assert shown == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "log_level: info\napi_key: @hunter2\n",
            "line 2, column 10: a value that begins with this character must be quoted",
        ),
        ("api_key: *hunter2\n", "line 1, column 10: there is no anchor of this name; quote a value that begins with *"),
        ("api_key: !hunter2 x\n", "line 1, column 10: unknown tag; quote a value that begins with !"),
        ('api_key: "hunter2\n', "line 2, column 1: the text ends within a value, list or mapping"),
        ("store:\n  url: http://u:hunter2: x@h\n", "line 2, column 24: a colon followed by a space must be quoted"),
        ("api_key: !!int hunter2\n", "line 1, column 10: the value does not match its tag or its form"),
        ("server: {port: 1, port: 2}\n", "line 1, column 19: port appears twice"),
        ("{api_key: {hunter2: 1, hunter2: 2}}\n", "line 1, column 24: a name appears twice"),
        ("api_key: a\x07b\n", "position 11: a control character"),
        ("api_key: 2026-13-45\n", "line 1, column 10: the value does not match its tag or its form"),
    ],
)
def test_a_fault_in_the_yaml_file_is_told_by_its_place_and_its_kind(tmp_path: Path, text: str, said: str) -> None:
    """S5: the user can still find what is wrong."""
    config = tmp_path / "m.yaml"
    config.write_text(text, encoding="utf-8")

    assert said_of(config) == f"{config} is not YAML: {said}"


@examples(
    max_examples=1000 if LONG else 100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.text(st.sampled_from("\n\t :,-?[]{}#&*!|>'\"%@`ab\\"), max_size=6),
    after=st.text(st.sampled_from("\n\t :,-?[]{}#&*!|>'\"%@`ab\\"), max_size=6),
)
def test_no_text_around_a_secret_makes_it_seen(tmp_path: Path, before: str, after: str) -> None:
    """S5."""
    config = tmp_path / "meterport.yaml"
    config.write_text(f"log_level: info\nkafka:\n  sasl_password: {before}x{PLANTED}{after}\n", encoding="utf-8")

    assert PLANTED not in said_of(config)


SECRETS = ["api_key", "api_key_sha256", "api_keys", "portal.token_keys", "store.url", "store.password"]
SECRETS += ["kafka.sasl_password", "kafka.ssl_key_password", "kafka.options", "portal", "store", "kafka"]
VALUES = [PLANTED, f'"{PLANTED}', f'["{PLANTED}"', f'["{PLANTED}"]', f'{{"{PLANTED}": 1}}', f'{{"x:{PLANTED}": null}}']
VALUES += [f'{{"url": "{PLANTED}"}}', f'{{"options": "{PLANTED}"}}', f'{{"token_keys": "{PLANTED}"}}', f"{PLANTED}\n"]
VALUES += [
    f'[{{"name": "a", "key": "{PLANTED}"}}]',
    f'[{{"name": "a", "key": ["{PLANTED}"], "scopes": ["{PLANTED}"]}}]',
]
VALUES += [
    f'[{{"name": "a", "key_sha256": "{PLANTED}", "scopes": ["admin"]}}]',
    f'[{{"key": "{PLANTED}", "scopes": []}}]',
]
VALUES += [f'[{{"name": "a", "key": "{PLANTED}", "scopes": ["{PLANTED}"]}}]']
VALUES += [f"http://u:{PLANTED}/x@h", f"http://u:1?{PLANTED}@h", f"http://u:{PLANTED}@h:x", f"{PLANTED} ключ"]


@pytest.mark.parametrize("by_file", [False, True], ids=["variable", "secret file"])
def test_no_variable_and_no_secret_file_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_file: bool
) -> None:
    """S5."""
    shown = []
    for name, value in itertools.product(SECRETS, VALUES):
        with monkeypatch.context() as given_now:
            if by_file:
                directory = tmp_path / name / str(VALUES.index(value))
                directory.mkdir(parents=True)
                (directory / variable_name(name)).write_text(value, encoding="utf-8")
                given_now.setenv(SECRETS_VARIABLE, str(directory))
            else:
                given_now.setenv(variable_name(name), value)
            said = said_of(None)
            names = value.startswith(f'{{"{PLANTED}": ') and f"{name}.{PLANTED}: " in said  # a name, not a value
            if PLANTED in said and not names:
                shown.append((name, value, said))

    assert shown == []


REFUSED = "kafka.options: librdkafka refuses the value of"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sasl.oauthbearer.method": PLANTED}, f"{REFUSED} sasl.oauthbearer.method"),
        ({"debug": f"generic,{PLANTED}"}, f"{REFUSED} debug"),
        ({"fetch.min.bytes": PLANTED}, f"{REFUSED} fetch.min.bytes"),
        ({"no.such.option": PLANTED}, "kafka.options: librdkafka knows no option no.such.option"),
        ({"ssl.key.pem": PLANTED, "security.protocol": "ssl"}, f"{REFUSED} ssl.key.pem"),
        ({"ssl.ca.location": f"/{PLANTED}", "security.protocol": "ssl"}, f"{REFUSED} ssl.ca.location"),
    ],
)  # fmt: skip
def test_an_option_that_librdkafka_refuses_is_named_without_its_value(options: dict[str, str], said: str) -> None:
    """S5."""
    kafka = load_settings(overrides={"kafka": {"brokers": "127.0.0.1:1", "options": options}}).kafka

    with pytest.raises(ConfigurationError) as refused:
        connect(Consumer, client_options(kafka, {"group.id": "g"}))

    assert str(refused.value) == said
    assert refused.value.__cause__ is None, "a trace would show the words of the library"
