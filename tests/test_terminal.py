"""Answers on a terminal: texts of producers are shown, never obeyed."""

import pytest

from engine.errors import InvalidMeter
from meterport.cli import _one_line
from meterport.terminal import print_table


def test_a_table_shows_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    """Kind of N23: subjects and groups are whatever a producer sent."""
    print_table(["subject", "value"], [["\x1b]0;owned\x07[red]\u202e\udce9 東京", "1"]])

    shown = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07[red]\\u202e\\xe9 東京" in shown
    assert "\x1b" not in shown


def test_an_error_of_several_problems_is_one_line() -> None:
    """Kind of N23"""
    assert (
        _one_line(InvalidMeter("slug is wrong\nvalue \x1b[31m is wrong")) == "slug is wrong; value \\x1b[31m is wrong"
    )
