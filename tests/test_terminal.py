"""Answers on a terminal: control sequences in the texts of producers are shown, and never executed."""

import pytest

from engine.config.redaction import one_line
from engine.errors import InvalidMeter
from meterport.terminal import print_table


def test_a_table_shows_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    """Like N23: producers choose the texts of subjects and groups."""
    print_table(["subject", "value"], [["\x1b]0;owned\x07[red]\u202e\udce9 東京", "1"]])

    shown = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07[red]\\u202e\\xe9 東京" in shown
    assert "\x1b" not in shown


def test_an_error_of_several_problems_is_one_line() -> None:
    """Like N23: line breaks become semicolons, and control characters are shown as text."""
    assert (
        one_line(str(InvalidMeter("slug is wrong\nvalue \x1b[31m is wrong")))
        == "slug is wrong; value \\x1b[31m is wrong"
    )
