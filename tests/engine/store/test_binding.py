"""Texts are inserted into a statement only where SQL has a place for them, and never inside another text."""

import pytest

from engine.store.binding import bind, with_settings
from engine.store.clickhouse import Store
from engine.store.sql import literal

LONG = [f"subject-{number:04d}-{'x' * 100}" for number in range(700)]  # does not fit into one field of a request


@pytest.mark.parametrize(
    "text",
    [
        "'{names:Array(String)}'",
        r"'it\'s {names:Array(String)}'",
        "'it''s {names:Array(String)}'",
        r"'\\', '{names:Array(String)}'",
        '"{names:Array(String)}"',
        "`{names:Array(String)}`",
        "-- {names:Array(String)}\n",
        "/* ' {names:Array(String)} */",
    ],
)
def test_a_list_in_pieces_leaves_literals_names_and_comments_as_they_are(text: str) -> None:
    """S16."""
    statement, bound = bind(f"SELECT {text}, length({{names:Array(String)}})", {"names": LONG})

    assert text in statement
    assert "length(arrayConcat({names_0:Array(String)}, {names_1:Array(String)}" in statement
    assert bound is not None
    assert [name for pieces in bound.values() for name in pieces] == LONG  # type: ignore[attr-defined] # lists


@pytest.mark.parametrize(
    "text", ["it's {names:Array(String)}", "a\\", "SETTINGS a = 1", "-- {names:Array(String)}", "'", "/*", "`", '"']
)
def test_the_engine_reads_a_statement_with_texts_that_look_like_sql(store: Store, text: str) -> None:
    """S16: the text comes back unchanged, and the list that was split is complete."""
    asked = f"SELECT {literal(text)}, length({{names:Array(String)}}), {literal(text)}"

    assert store.with_timeout(600).rows(asked, names=LONG) == [(text, len(LONG), text)]


@pytest.mark.parametrize(
    ("statement", "joint"),
    [
        ("SELECT 1", " SETTINGS a = 1"),
        ("SELECT 1\nSETTINGS b = 2", ", a = 1"),
        ("SELECT 1 SETTINGS b = 'x(y'", ", a = 1"),
        ("SELECT 'x' AS t WHERE t = ' SETTINGS b = 2'", " SETTINGS a = 1"),
        ("SELECT `SETTINGS b = 2`", " SETTINGS a = 1"),
        ("SELECT * FROM (SELECT 1 SETTINGS b = 2)", " SETTINGS a = 1"),
        ("SELECT 1 -- SETTINGS b = 2\n", " SETTINGS a = 1"),
    ],
)
def test_settings_are_joined_to_those_that_the_statement_itself_carries(statement: str, joint: str) -> None:
    """Like S16: a text that looks like settings may be a literal, or belong to a subquery."""
    assert with_settings(statement, {"a": 1}) == statement + joint


def test_a_text_that_ends_like_settings_does_not_hide_that_a_statement_has_none(store: Store) -> None:
    """Like S16."""
    assert store.rows("SELECT 'a' WHERE 'x SETTINGS b = 2' = 'x SETTINGS b = 2'") == [("a",)]


def test_a_statement_that_binds_nothing_is_given_no_parameters() -> None:
    assert bind("SELECT 1", {"names": ["a"]}) == ("SELECT 1", None)
