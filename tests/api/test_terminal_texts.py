"""Texts of producers are escaped on a terminal if they contain control sequences or invisible characters.

Cases S6 and S14 of the security audit. The commands run against the real application on a real socket.
"""

import io
import json
import logging
import os
import pty
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator

import orjson
import pytest
import uvicorn
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.applications import Starlette
from typer.testing import CliRunner

from api.dependencies import Dependencies
from api.server.server import HttpServer, uvicorn_config
from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.instants import milliseconds, utc_now
from engine.logging_setup import configure_logging
from engine.store.clickhouse import Store
from engine.texts import json_printable, lines_printable, printable, printable_name
from ingest.dead_letters import DeadLetter, dead_letter_block
from ingest.event_log import Record
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from ingest.importer.positions import ImportPosition
from ingest.importer.summary import Report
from meterport import cli
from meterport.commands.import_ import _print as print_summary
from meterport.terminal import print_csv, print_json_text, print_table, say
from tests.api.conftest import KEY, TOKENS_TOTAL
from tests.harness.api_client import ApiClient

# C0, DEL, C1, direction marks and isolates, invisible characters, line separators, tag characters.
HARMFUL = [*map(chr, [*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F])]
HARMFUL += [*map(chr, [*range(0x2028, 0x202F), *range(0x2060, 0x206A), 0xFEFF, 0xFFF9, 0xE0001, 0xE0041])]
PLANTED = "x\x1b[31mRED\x1b]0;pwned\x07\x9b2J\u202e\u2066\u200b" + "".join(HARMFUL) + "y"
SUBJECT = "ac\u200bme \u202egpj.exe\u2069"


def harmful_in(text: str) -> list[str]:
    """Return the control and invisible characters of a command's output, without its line ends."""
    return sorted({ascii(letter) for letter in text if letter in HARMFUL and letter != "\n"})


@pytest.fixture
def server(app: Starlette, dependencies: Dependencies) -> Iterator[str]:
    ports: list[int] = []
    listening = threading.Event()

    def on_listening(port: int) -> None:
        ports.append(port)
        listening.set()

    config: uvicorn.Config = uvicorn_config(app, "127.0.0.1", 0, dependencies.settings)
    http = HttpServer(config, on_listening=on_listening)
    thread = threading.Thread(target=http.run)
    thread.start()
    assert listening.wait(60)
    yield f"http://127.0.0.1:{ports[0]}"
    http.should_exit = True
    thread.join()


def run(server: str, *arguments: str) -> tuple[str, str]:
    """Run a command as a shell would. Return its stdout and stderr."""
    variables = {"METERPORT_API_KEY": KEY, "TERM": "dumb"}
    ran = CliRunner().invoke(cli.app, [*arguments, "--server", server], env=variables, catch_exceptions=False)
    assert ran.exit_code == 0 or "still invalid 1" in ran.output, ran.output
    return ran.stdout, ran.stderr


def test_no_command_prints_what_a_terminal_obeys(
    server: str, client: ApiClient, store: Store, send: Callable[..., None]
) -> None:
    """S6: this holds for models, subjects, event types, reasons and names, in tables and in JSON."""
    made = client.post("/api/v1/meters", json=TOKENS_TOTAL)
    assert made.status_code == 201
    assert client.post("/api/v1/meters", json={**TOKENS_TOTAL, "slug": "odd", "eventType": SUBJECT}).status_code == 201
    send((SUBJECT, utc_now().isoformat(), {"tokens": 3, "model": PLANTED}))
    letter = DeadLetter(Record(4, 1, milliseconds(utc_now()), PLANTED.encode(), [(PLANTED, b"\x1b")]), PLANTED)
    store.insert_block("dead_letters", dead_letter_block([letter], milliseconds(utc_now())), "letter")
    assert client.post("/api/v1/portal/tokens", json={"subject": SUBJECT}).status_code == 200

    outputs = {
        arguments: run(server, *arguments)
        for arguments in (
            ("query", "tokens_total", "--group-by", "model", "--group-by", "subject"),
            ("query", "tokens_total", "--group-by", "model", "--format", "json"),
            ("meters", "list"),
            ("meters", "list", "--format", "json"),
            ("dead-letters", "list"),
            ("dead-letters", "list", "--json"),
            ("dead-letters", "replay", "--all", "--dry-run"),
            ("token", "list"),
            ("token", "list", "--format", "json"),
            ("token", "create", SUBJECT),
            ("token", "create", SUBJECT, "--format", "json"),
            ("token", "invalidate", "--subject", SUBJECT),
        )
    }

    assert {
        arguments: harmful_in(out + err) for arguments, (out, err) in outputs.items() if harmful_in(out + err)
    } == {}
    asked = ("query", "tokens_total", "--group-by", "model", "--group-by", "subject")
    assert r"\x1b[31mRED\x1b]0;pwned\x07\x9b2J\u202e" in outputs[asked][0]
    assert r"ac\u200bme \u202egpj.exe\u2069" in outputs[("token", "list")][0]
    rows = json.loads(outputs[("query", "tokens_total", "--group-by", "model", "--format", "json")][0])["data"]
    assert rows[0]["groupBy"]["model"] == PLANTED, "JSON means the same to a program"
    letters = json.loads(outputs[("dead-letters", "list", "--json")][0])
    assert letters[0]["reason"] == PLANTED


def test_csv_is_exact_in_a_pipe_and_escaped_on_a_terminal(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """S6: programs read CSV unchanged, because CSV has no escapes."""
    document = f'value,model\r\n3,"{PLANTED}"\r\n'.encode()
    print_csv(document)
    assert capfdbinary.readouterr().out.removesuffix(b"\n") == document

    reader, writer = pty.openpty()
    try:
        with os.fdopen(writer, "w", newline="\n") as terminal, pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdout", terminal)
            print_csv(b"value,model\n3,\x1b[31mRED\x1b]0;pwned\x07\n")
            terminal.flush()
            shown = os.read(reader, 1000).decode().replace("\r\n", "\n")
    finally:
        os.close(reader)
    assert shown.rstrip("\n") == "value,model\n3,\\x1b[31mRED\\x1b]0;pwned\\x07"


def test_the_summary_of_an_import_shows_reasons_escaped(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """S6: a reason may contain an event type, or the text of a value property."""
    path = tmp_path_factory.mktemp("import") / "e.ndjson"
    path.write_text('{"specversion":"1.0"}\n', encoding="utf-8")
    report = Report()
    report.reached(ImportPosition())
    report.reached(ImportPosition(row=1, read=1, stored=1, uncounted=1))
    report.uncounted.add(1, f"no meter found for event type: {PLANTED}")

    print_summary(report, EventFile(path, None, ColumnMapping(None, None, None, None, None)), 0)

    out = capsys.readouterr().out
    assert harmful_in(out) == []
    assert r"no meter found for event type: x\x1b[31mRED" in out


anything = st.text(st.one_of(st.sampled_from(HARMFUL), st.characters()), max_size=30)


@examples(deadline=None)
@given(anything)
def test_no_text_makes_any_output_harmful(text: str) -> None:
    """S6."""
    shown = [printable(text), printable_name(text), say_to_string(text), table_of(text)]
    for output in shown:
        assert harmful_in(output) == []
    assert harmful_in(lines_printable(text)) == []
    assert "\n" not in printable(text)
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        document = orjson.dumps({text: [text]}).decode()
        assert json.loads(json_printable(document)) == {text: [text]}
        assert harmful_in(json_printable(document)) == []


def say_to_string(text: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", said := io.StringIO())
        say(text)
    return said.getvalue().removesuffix("\n")


def table_of(text: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", printed := io.StringIO())
        print_table([text, "value"], [[text, "1"]])
    return printed.getvalue()


@examples(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cn", "Zl", "Zp", "Zs"]), min_size=1))
def test_letters_of_all_languages_are_shown_as_they_are(text: str) -> None:
    """S6: only unreadable characters are escaped."""
    invisible = any(
        unicodedata.category(letter) == "Mn" or letter in "\u115f\u1160\u2800\u3164\uffa0" for letter in text
    )
    assert printable_name(text) == text or invisible


FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("acme ", "acme\\x20"),
        (" acme", "\\x20acme"),
        ("ac me", "ac me"),
        ("ac\u00a0me", "ac\\xa0me"),
        ("ac\u200bme", "ac\\u200bme"),
        ("ac\u200dme", "ac\\u200dme"),
        ("acme\ufe0f", "acme\\ufe0f"),
        ("acme\u3164", "acme\\u3164"),
        ("\u202eemca", "\\u202eemca"),
        ("acme\U000e0041", "acme\\U000e0041"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        (FAMILY, FAMILY),
        ("ac\tme\n", "ac\\x09me\\x0a"),
    ],
)
def test_names_that_look_alike_are_shown_for_what_they_are(text: str, shown: str) -> None:
    """S14, D.40: joiners inside words of other scripts and inside emoji count as letters."""
    assert printable_name(text) == shown


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_line_is_one_line_that_holds_no_control_and_no_secret(
    log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """S5, S6: this holds for texts of libraries and of other sources, and for tracebacks."""
    secrets = {"kafka": {"brokers": "b:1", "options": {"sasl.password": "hunter2-option", "x.y": "hunter2-rack"}}}
    secrets |= {"store": {"url": "http://u:hunter2-%40pw@h:1"}, "portal": {"token_keys": ["hunter2-signing-key"]}}
    configured: Settings = load_settings(overrides={"log_format": log_format, "api_key": "hunter2-api-key", **secrets})
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logging(configured)
        said = "hunter2-option hunter2-rack hunter2-%40pw hunter2-@pw hunter2-signing-key hunter2-api-key"
        error = ValueError(f"{PLANTED} {said}")
        logging.getLogger("any").error("some_error error=%s %s", f"\ud800{PLANTED}", said, exc_info=error)
    finally:
        root.handlers[:] = before
        root.setLevel(level)

    err = capfd.readouterr().err
    assert harmful_in(err) == []
    assert "hunter2" not in err
    assert "**********" in err
    if log_format == "json":
        assert json.loads(err)["message"].startswith("some_error error=")
    else:
        first, _, rest = err.partition("\n")
        assert re.search(r"ERROR +some_error error=\\ud800x\\x1b", first)
        assert rest.startswith(r"ValueError: x\x1b")


def test_json_of_the_api_is_printed_so_that_it_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """S6: JSON itself allows C1 controls and direction marks without an escape."""
    print_json_text(orjson.dumps({"a": "\x9b\u202e\U000e0041é"}))

    out = capsys.readouterr().out
    assert out == '{"a":"\\u009b\\u202e\\udb40\\udc41é"}\n'
    assert json.loads(out) == {"a": "\x9b\u202e\U000e0041é"}
