"""The statements in sql/, and the quoting of the few texts that are inserted into them without a parameter."""

import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store import sql
from engine.store.clickhouse import Store

ROOT = Path(str(resources.files("sql")))
FILES = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.sql"))
PLACEHOLDER = re.compile(r"\$\{([a-z_0-9]+)\}")


def text_of(name: str) -> str:
    return (ROOT / f"{name}.sql").read_text(encoding="utf-8")


# --- names and literals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["events", "meter_a_0f_minute", "_x", "X9", "d0"])
def test_a_name_we_made_is_quoted(name: str) -> None:
    assert sql.identifier(name) == f"`{name}`"


@pytest.mark.parametrize(
    "name", ["", "9a", "a b", "a`b", "a.b", "a;b", "a-b", "ä", "a\n", "\na", "a\0", "`a`", "$", "a'"], ids=repr
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        sql.identifier(name)


LITERALS = {
    "plain": ("abc", "'abc'"),
    "empty": ("", "''"),
    "a quote": ("it's", r"'it\'s'"),
    "a backslash": ("a\\b", r"'a\\b'"),
    "a backslash before a quote": ("\\'", r"'\\\''"),
    "NUL": ("a\0b", r"'a\0b'"),
    "a newline": ("a\nb", r"'a\nb'"),
    "an injection": ("'; DROP TABLE events; --", r"'\'; DROP TABLE events; --'"),
}


@pytest.mark.parametrize(("text", "quoted"), LITERALS.values(), ids=LITERALS)
def test_a_literal_is_quoted(text: str, quoted: str) -> None:
    assert sql.literal(text) == quoted


HOSTILE = [
    *("", "'", "''", "\\", "\\'", "\\\\'", "'; SELECT 1; --", "/* ", "*/", "-- ", "#", "`", '"', "\\n", "\\0", "\\x41"),
    *("\0", "a\0b", "\n", "\r", "\r\n", "\t", "\b", "\x1b", "\x7f", "\x80", "\ufeff", "\u2028", "ü客😀", "\U0010ffff"),
    *("%s", "%(name)s", "%%", "{bound:String}", "{bound:", "{}", "$1", "${text}", "?", ":name", "$$a$$", "\\N", "NULL"),
]


def test_hostile_text_comes_back_from_the_engine_as_it_went_in(bare_store: Store) -> None:
    literals = ", ".join(map(sql.literal, HOSTILE))

    ((came_back,),) = bare_store.rows(f"SELECT [{literals}]")
    ((beside_a_parameter, bound),) = bare_store.rows(f"SELECT [{literals}], {{bound:String}}", bound="it's \\ me")

    assert came_back == HOSTILE
    assert beside_a_parameter == HOSTILE
    assert bound == "it's \\ me"


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=100))
def test_any_text_comes_back_from_the_engine_as_it_went_in(bare_store: Store, texts: list[str]) -> None:
    ((came_back,),) = bare_store.rows(f"SELECT [{', '.join(map(sql.literal, texts))}]")

    assert came_back == texts


def test_a_settings_list_quotes_texts_and_leaves_numbers() -> None:
    assert (
        sql.settings({"max_threads": 2, "mode": "it's", "token": "a"})
        == r"max_threads = 2, mode = 'it\'s', token = 'a'"
    )


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_statement_is_filled_and_its_comment_left_out() -> None:
    rendered = sql.statement("meters/rollup_view", view="`v`", table="`t`", select="SELECT '$.a', '${b}'")

    assert rendered == "CREATE MATERIALIZED VIEW IF NOT EXISTS `v` TO `t` AS\nSELECT '$.a', '${b}'"


def test_a_placeholder_left_open_is_an_error() -> None:
    with pytest.raises(KeyError):
        sql.statement("meters/rollup_view", view="`v`", table="`t`")


@pytest.mark.parametrize("name", FILES)
def test_a_file_opens_with_what_it_is_for(name: str) -> None:
    comment, _, rest = text_of(name).partition("\n")
    while rest.startswith("--"):
        line, _, rest = rest.partition("\n")
        comment += line

    assert re.match(r"-- [A-Z`].{25,}", comment), comment
    assert comment.rstrip().endswith((".", ":", "."))
    assert rest.strip(), "a comment and nothing else"


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_left_open_once_a_statement_is_rendered(name: str) -> None:
    rendered = sql.statement(name, **dict.fromkeys(PLACEHOLDER.findall(text_of(name)), "x"))

    assert "--" not in rendered.replace("'--", "")
    assert "${" not in rendered
    braces = re.findall(r"\{[^}]*\}?", rendered)
    wrong = [brace for brace in braces if not re.fullmatch(r"\{\w+:[A-Za-z0-9(), ]+\}|\{\d+(,\d+)?\}", brace)]
    assert wrong == [], "neither {name:Type} nor a repetition in a regular expression"
    assert not re.search(r"%\(|%s\b|\{\w+\}s", rendered), "a placeholder of Python's"


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("migrations/")])
def test_a_file_is_read_by_somebody(name: str) -> None:
    readers = [path for folder in ("engine", "ingest") for path in (ROOT.parent / folder).rglob("*.py")]

    assert [path.name for path in readers if f'"{name}"' in path.read_text(encoding="utf-8")]
