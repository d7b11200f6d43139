"""The store: the settings of inserts, values that reach SQL only as parameters, and who is responsible for an error."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config.loading import load_settings
from engine.errors import QueryTimeout, StoreError, StoreMisconfigured, StoreUnavailable
from engine.events.event import Event, event_block, event_key
from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter
from engine.meters.registry import MeterRegistry
from engine.store import clickhouse as stores
from engine.store import sql
from engine.store.clickhouse import INSERT_SETTINGS, READ_SETTINGS, Store
from engine.store.opening import open_store
from engine.usage.answers import UsageQuery, query_csv, query_json
from tests.harness.translation import rows


@pytest.fixture(params=["chdb", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


NOW_MS = milliseconds(utc_now())  # current, because the store forgets keys that are weeks old
HOSTILE = [
    *(
        "",
        " ",
        "'",
        "''",
        '"',
        "\\",
        "\\'",
        "\\\\",
        "\\0",
        "\\n",
        "\\N",
        "\0",
        "a\0b",
        "\n",
        "\r\n",
        "\t",
        "\b",
        "\x1b",
    ),
    *("\x7f", "\x80", "\ufeff", "\u2028", "ü客😀", "\U0010ffff", "NULL", "null", "[]", "['a']", "]", ",", "a,b", "()"),
    *(
        "%s",
        "%(x)s",
        "%%",
        "{x:String}",
        "{x:",
        "}",
        "$1",
        "${x}",
        "`",
        "--",
        "/*",
        "*/",
        ";",
        "'; DROP TABLE events; --",
    ),
]


# --- what exactly-once needs ------------------------------------------------------------------------------------------


def test_every_setting_of_an_insert_is_in_force_when_it_is_sent(store: Store) -> None:
    sent = store.fill_settings("a token")

    effective = store.rows(f"SELECT name, value FROM system.settings WHERE changed SETTINGS {sent}")

    wanted = {name: str(value) for name, value in INSERT_SETTINGS.items()} | {"insert_deduplication_token": "a token"}
    assert {name: value for name, value in effective if name in wanted} == wanted


@pytest.mark.parametrize("own", ["", " SETTINGS max_threads = 1"], ids=["none of its own", "one of its own"])
def test_patterns_of_a_select_are_not_compiled_into_one(store: Store, own: str) -> None:
    """Contract 2.3: the patterns of a filter take no time to parse, even if the statement has settings."""
    asked = f"SELECT value FROM system.settings WHERE name = 'optimize_or_like_chain'{own}"

    assert store.rows(asked) == [("0",)]
    assert store.query_bytes(asked, "TSV", {}) == b"0\n"
    assert store.arrow(asked).column("value").to_pylist() in (["0"], [b"0"])


def test_no_aggregation_is_compiled_however_often_it_runs(store: Store) -> None:
    """R22b: ClickHouse would compile it at its fourth run."""
    counted = "SELECT sum(value) FROM system.events WHERE event = 'CompileFunction'"
    before = store.rows(counted)
    store.command("CREATE TABLE added (a Int64, b Int64) ENGINE = MergeTree ORDER BY a")
    store.command("INSERT INTO added SELECT number, number % 7 FROM numbers(1000)")

    for _ in range(6):
        store.rows("SELECT b, sum(a) + 1, max(a), count() FROM added WHERE a > 10 GROUP BY b ORDER BY b")

    assert store.rows(counted) == before


def test_a_setting_of_a_select_that_is_not_known_is_left_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READ_SETTINGS, "optimize_in_the_future", 0)
    monkeypatch.setattr(stores, "OPTIONAL_SETTINGS", stores.OPTIONAL_SETTINGS | {"optimize_in_the_future"})

    store.check()

    assert store.rows("SELECT 1") == [(1,)]


def test_a_select_of_a_limited_store_is_ended(store: Store) -> None:
    """Contract 0: a query of a thousand seconds is ended after a fifth of a second. Writes are not ended."""
    limited = store.with_timeout(0.2)

    for ask in (limited.rows, lambda statement: limited.query_bytes(statement, "TSV", {}), limited.arrow):
        with pytest.raises(QueryTimeout, match=r"the query took longer than 0\.2 seconds"):
            ask("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)")
    assert limited.rows("SELECT value FROM system.settings WHERE name = 'max_execution_time'") == [("0.2",)]
    assert store.rows("SELECT value FROM system.settings WHERE name = 'max_execution_time'") == [("0",)]


def test_a_setting_that_does_not_read_back_as_sent_stops_the_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INSERT_SETTINGS, "max_threads", 0)  # ClickHouse accepts 0 and replaces it by its own number

    with pytest.raises(StoreMisconfigured, match=r"ClickHouse applies max_threads = auto\(\d+\), but it must be 0"):
        store.check()


def test_a_setting_of_a_younger_release_is_left_out_where_it_is_not_known(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INSERT_SETTINGS, "deduplicate_in_the_future", 1)
    monkeypatch.setattr(stores, "OPTIONAL_SETTINGS", stores.OPTIONAL_SETTINGS | {"deduplicate_in_the_future"})

    store.check()

    assert "deduplicate_in_the_future" not in store.fill_settings("t")
    assert "insert_deduplicate = 1" in store.fill_settings("t")


def test_any_other_setting_that_is_not_known_stops_the_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INSERT_SETTINGS, "deduplicate_in_the_future", 1)

    with pytest.raises(StoreMisconfigured, match="release is too old: it has no setting deduplicate_in_the_future"):
        store.check()


def test_a_block_sent_twice_under_one_token_is_there_once_under_two_twice(store: Store) -> None:
    block = event_block([_event(1, "u")], NOW_MS)

    for token in ("one", "one", "two"):
        store.insert_block("events", block, token)

    assert store.rows("SELECT count() FROM events") == [(2,)]
    assert store.rows("SELECT count() FROM event_keys") == [(2,)]


# --- values -----------------------------------------------------------------------------------------------------------


def test_hostile_values_come_back_as_they_were_bound(store: Store) -> None:
    (answer,) = store.rows("SELECT {all:Array(String)}, {none:Array(String)}", all=HOSTILE, none=[])
    singly = [store.rows("SELECT {x:String}, {n:Nullable(String)}", x=text, n=text)[0] for text in HOSTILE]

    assert answer == (HOSTILE, [])
    assert singly == [(text, text) for text in HOSTILE]
    assert store.rows("SELECT {n:Nullable(String)}", n=None) == [(None,)]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=100))
def test_any_values_come_back_as_they_were_bound(store: Store, texts: list[str]) -> None:
    joined = "\n".join(texts)

    assert store.rows("SELECT {texts:Array(String)}, {joined:String}", texts=texts, joined=joined) == [(texts, joined)]


def test_a_list_may_be_longer_than_what_a_server_takes_in_one_parameter(store: Store) -> None:
    numbers = list(range(10_000, 40_000))  # 210 kB of text; a server accepts 128 KiB
    texts = [f"ü'{number}\\" for number in numbers]

    assert store.rows("SELECT {n:Array(UInt32)}, {n:Array(UInt32)}[-1]", n=numbers) == [(numbers, numbers[-1])]
    assert store.rows("SELECT {t:Array(String)}", t=texts) == [(texts,)]
    found = "SELECT count() FROM numbers(100000) WHERE (number, toString(number)) IN {p:Array(Tuple(UInt32, String))}"
    pairs = [(number, str(number)) for number in numbers]
    assert store.query_bytes(found, "TSV", {"p": pairs}) == b"30000\n"
    assert store.arrow("SELECT length({n:Array(UInt32)}) AS n", n=numbers).to_pylist() == [{"n": 30_000}]


def test_nothing_is_put_into_a_statement_that_names_no_parameter(store: Store) -> None:
    texts = ["%s", "%(x)s", "100%", "%%", "{x}"]
    statement = f"SELECT {', '.join(map(sql.literal, texts))}"

    assert store.rows(statement) == [tuple(texts)]
    assert store.rows(statement, x="put in", y=1) == [tuple(texts)]
    assert store.query_bytes(statement, "TSV", {"x": "put in"}) == b"%s\t%(x)s\t100%\t%%\t{x}\n"
    assert store.arrow(statement, x="put in").num_rows == 1
    assert store.rows(f"{statement}, {{x:String}}", x="bound") == [(*texts, "bound")]


def test_a_parameter_that_is_not_given_is_an_error_not_a_guess(store: Store) -> None:
    with pytest.raises(StoreError):
        store.rows("SELECT {x:String}")


def _event(offset: int, subject: str) -> Event:
    data = b'{"v":%d}' % offset
    return Event(str(offset), "s", "call", subject, NOW_MS, data, b"", NOW_MS, 0, offset, event_key("s", str(offset)))


def _ask(store: Store, meter: Meter, subject: str) -> list[tuple[str | None, int]]:
    query = UsageQuery(subjects=(subject,)).resolved(meter)
    return [(row.subject, int(row.value)) for row in rows(query_json(store, meter, query).rows)]


def test_a_portal_subject_is_compared_never_run(store: Store) -> None:
    registry = MeterRegistry(store)
    definition = {"slug": "m", "eventType": "call", "aggregation": "SUM", "valueProperty": "$.v"}
    meter = registry.create(parse_definition(definition))
    subjects = [text for text in HOSTILE if text]
    events = [_event(number, subject) for number, subject in enumerate(subjects)]
    store.insert_block("events", event_block(events, NOW_MS), "t")

    answers = [_ask(store, meter, subject) for subject in subjects]

    assert answers == [[(subject, number)] for number, subject in enumerate(subjects)]
    assert _ask(store, meter, "u' OR '1'='1") == []
    assert _ask(store, meter, "") == []
    quoted = UsageQuery(subjects=('"', "a,b")).resolved(meter)
    lines = query_csv(store, meter, quoted).rows.decode().splitlines()
    assert [line.split("Z,")[2] for line in lines[1:]] == [
        f'"""",{subjects.index(chr(34))}',
        f'"a,b",{subjects.index("a,b")}',
    ]


# --- errors -----------------------------------------------------------------------------------------------------------

LATER = {
    "too slow": "SELECT sleepEachRow(0.2) FROM numbers(50) SETTINGS max_execution_time = 0.1, max_block_size = 1",
    "too little memory": "SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 1000000",
    "a full disk": "SELECT throwIf(1, 'full', toInt16(243)) SETTINGS allow_custom_error_code_in_throwif = 1",
}


@pytest.mark.parametrize("statement", LATER.values(), ids=LATER)
def test_what_may_work_later_is_unavailable(store: Store, statement: str) -> None:
    with pytest.raises(StoreUnavailable):
        store.rows(statement)
    assert store.rows("SELECT 1") == [(1,)]


NEVER = {
    "no SQL": ("SELEC 1", 62),
    "no such table": ("SELECT 1 FROM nowhere", 60),
    "no such column": ("SELECT nothing FROM events", 47),
    "a view that throws": ("SELECT throwIf(1)", 395),
    "no number": ("SELECT toInt32('x')", 6),
}


@pytest.mark.parametrize(("statement", "code"), NEVER.values(), ids=NEVER)
def test_what_never_works_carries_the_engines_code(store: Store, statement: str, code: int) -> None:
    with pytest.raises(StoreError) as caught:
        store.rows(statement)

    assert caught.value.clickhouse_code == code
    assert store.rows("SELECT 1") == [(1,)]


def test_a_server_that_is_not_there_is_unavailable_and_its_password_stays_out_of_it(tmp_path: Path) -> None:
    overrides = {
        "data_dir": tmp_path,
        "store": {"url": "http://meterport:sesame-open@127.0.0.1:1"},
        "portal": {"token_keys": ["0123456789abcdef"]},
    }

    with pytest.raises(StoreUnavailable) as caught:
        open_store(load_settings(overrides=overrides))

    assert "sesame-open" not in str(caught.value)
