"""Several management keys in a running server, and the commands that use one of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.command import meterport
from tests.harness.server import Server

OLD, NEW, PRODUCER = "the-old-key-of-operators", "the-new-key-of-operators", "a-key-of-the-producers"
KEYS = [
    {"name": "operators-old", "key": OLD, "scopes": ["admin"]},
    {"name": "operators", "key": NEW, "scopes": ["admin"]},
    {"name": "producers", "key": PRODUCER, "scopes": ["ingest"]},
]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables of a server and of the commands beside it: its keys are in a secret file."""
    directory = tmp_path_factory.mktemp("secrets")
    (directory / "METERPORT_API_KEYS").write_text(json.dumps(KEYS), encoding="utf-8")
    return {"METERPORT_SECRETS_DIR": str(directory)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("keys"), variables={**variables, "METERPORT_SERVER__TELEMETRY_PORT": "0"})
    with running:
        running.start()
        yield running
    assert not [key for key in (OLD, NEW, PRODUCER) if key in running.log.read_text(encoding="utf-8")]


@pytest.mark.parametrize("key", [OLD, NEW], ids=["old", "new"])
def test_the_old_and_the_new_key_open_a_server_while_they_are_exchanged(server: Server, key: str) -> None:
    answer = meterport("meters", "list", "--server", str(server.url), variables={"METERPORT_API_KEY": key})

    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_command_may_send_a_key_that_its_own_settings_list(server: Server, variables: dict[str, str]) -> None:
    """In a container, a command has the settings of the server."""
    directory = ("--data-dir", str(server.directory / "data"))

    found = meterport("meters", "list", *directory, variables={**variables, "METERPORT_API_KEY": NEW})
    no_key = meterport("meters", "list", *directory, variables=variables)
    serving = meterport("serve", *directory, variables={**variables, "METERPORT_API_KEY": NEW})

    assert (found.returncode, found.stderr) == (0, "")
    assert (no_key.returncode, no_key.stderr) == (
        1,
        "meterport: missing authorization header; the key comes from the setting api_key (METERPORT_API_KEY)\n",
    )
    assert (serving.returncode, serving.stderr) == (
        78,
        'meterport: api_keys: the keys named "default" and "operators" are the same; api_key is named "default"\n',
    )


def test_an_import_may_send_a_key_that_its_own_settings_list(
    server: Server, variables: dict[str, str], tmp_path: Path
) -> None:
    events = tmp_path / "events.ndjson"
    events.write_text('{"specversion":"1.0","id":"1","source":"s","type":"call","subject":"a"}\n', encoding="utf-8")

    def imported(key: str) -> tuple[int, str]:
        ended = meterport(
            "import", str(events), "--server", str(server.url), variables={**variables, "METERPORT_API_KEY": key}
        )
        return ended.returncode, ended.stderr

    assert imported(PRODUCER) == (1, 'meterport: the API key "producers" lacks the scope query\n')
    assert imported(NEW) == (0, "")


def test_a_server_with_listed_keys_alone_is_not_open(server: Server) -> None:
    assert httpx.get(f"{server.url}/api/v1/meters").status_code == 401
    assert "no_api_key" not in server.log.read_text(encoding="utf-8")


def test_a_command_whose_key_lacks_the_scope_says_so(server: Server) -> None:
    variables = {"METERPORT_API_KEY": PRODUCER}

    answer = meterport("meters", "list", "--server", str(server.url), variables=variables)

    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == 'meterport: the API key "producers" lacks the scope query\n'


def test_the_telemetry_port_says_which_keys_nobody_has_used(server: Server) -> None:
    """An old key may be removed once its count no longer rises."""
    headers = {"Authorization": f"Bearer {PRODUCER}"}
    assert httpx.get(f"{server.url}/api/v1/subjects", headers=headers).status_code == 403

    metrics = httpx.get(f"{server.telemetry_url()}/metrics").text

    for name in ("operators-old", "operators", "producers"):
        assert f'meterport_key_requests_total{{key="{name}",use="allowed"}} ' in metrics
    assert 'meterport_key_requests_total{key="producers",use="allowed"} 0.0' in metrics
    assert 'key="default"' not in metrics


def test_a_command_without_a_server_needs_none_of_the_keys(tmp_path: Path, variables: dict[str, str]) -> None:
    """It runs a server of its own, with a key of its own."""
    answer = meterport("meters", "list", "--format", "json", data_dir=tmp_path / "data", variables=variables)

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "[]\n", "")


_ASK_OWN_SERVER = """
import sys
import httpx
from engine.config.loading import load_settings
from meterport.connection import connect
from pathlib import Path
with connect(load_settings(overrides={"data_dir": Path(sys.argv[1])})) as client:
    print(httpx.get(f"{client.url}/api/v1/meters", headers={"Authorization": f"Bearer {sys.argv[2]}"}).status_code)
"""


def test_the_server_of_a_command_accepts_the_key_of_the_command_alone(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    """Other users of the machine can reach its port."""
    ended = subprocess.run(
        [sys.executable, "-c", _ASK_OWN_SERVER, str(tmp_path / "data"), NEW],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip

    assert ended.stdout == "401\n"


def test_config_show_masks_the_keys_and_names_their_source(variables: dict[str, str]) -> None:
    shown = meterport("config", "show", variables=variables)

    assert shown.returncode == 0, shown.stderr
    assert (
        f"api_keys:  # from {variables['METERPORT_SECRETS_DIR']}/METERPORT_API_KEYS\n- name: operators-old\n"
        in shown.stdout
    )
    assert not [key for key in (OLD, NEW, PRODUCER) if key in shown.stdout + shown.stderr]
