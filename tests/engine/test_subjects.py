"""Subjects: partial updates, lookup by id or key, and what a key may be."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import InvalidRequest, NotFound
from engine.store.clickhouse import Store
from engine.subjects import Subjects, key_problem

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2025, 3, 1, 12, 5, tzinfo=UTC)


class StoppedClock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def subjects(store: Store, clock: StoppedClock) -> Subjects:
    return Subjects(store, clock)


def refusal(subjects: Subjects, body: object) -> str:
    with pytest.raises(InvalidRequest) as refused:
        subjects.upsert(body)
    return str(refused.value)


def test_a_subject_keeps_all_that_was_said_of_it(subjects: Subjects) -> None:
    [written] = subjects.upsert(
        [
            {
                "key": "customer-1",
                "displayName": "Müller & Söhne",
                "metadata": {"plan": "gold", "seats": 3, "tags": ["a", None], "big": 18446744073709551615},
                "stripeCustomerId": "cus_123",
                "currentPeriodStart": "2025-03-01T01:00:00.25+01:00",
                "currentPeriodEnd": "2025-04-01T00:00:00Z",
            }
        ]
    )

    found = subjects.find("customer-1")

    assert found == written
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", found.id)
    assert found.body == {
        "id": found.id,
        "key": "customer-1",
        "displayName": "Müller & Söhne",
        "metadata": {"plan": "gold", "seats": 3, "tags": ["a", None], "big": 18446744073709551615},
        "stripeCustomerId": "cus_123",
        "currentPeriodStart": "2025-03-01T00:00:00.25Z",
        "currentPeriodEnd": "2025-04-01T00:00:00Z",
        "createdAt": "2025-03-01T12:00:00Z",
        "updatedAt": "2025-03-01T12:00:00Z",
    }


def test_a_subject_needs_no_more_than_a_key(subjects: Subjects) -> None:
    [written] = subjects.upsert([{"key": "customer-1"}])

    assert written.body == {
        "id": written.id,
        "key": "customer-1",
        "displayName": None,
        "metadata": None,
        "stripeCustomerId": None,
        "currentPeriodStart": None,
        "currentPeriodEnd": None,
        "createdAt": "2025-03-01T12:00:00Z",
        "updatedAt": "2025-03-01T12:00:00Z",
    }


def test_only_the_fields_present_are_updated_and_null_clears(subjects: Subjects, clock: StoppedClock) -> None:
    [first] = subjects.upsert([{"key": "customer-1", "displayName": "One", "metadata": {"a": 1}}])
    clock.at = LATER

    [second] = subjects.upsert([{"key": "customer-1", "metadata": None, "stripeCustomerId": "cus_1"}])

    assert second.id == first.id
    assert second.display_name == "One"
    assert second.metadata is None
    assert second.stripe_customer_id == "cus_1"
    assert (second.created_at, second.updated_at) == (NOON, LATER)
    assert subjects.list() == [second]


def test_many_are_written_at_once_and_come_back_in_their_order(subjects: Subjects) -> None:
    written = subjects.upsert([{"key": "b", "displayName": "B"}, {"key": "a"}, {"key": "b", "metadata": {"n": "1"}}])

    assert [subject.key for subject in written] == ["b", "a", "b"]
    assert subjects.find("b") == written[2]
    assert (written[2].display_name, written[2].metadata) == ("B", {"n": "1"})
    assert len(subjects.list()) == 2


def test_no_subjects_are_no_work(subjects: Subjects) -> None:
    assert subjects.upsert([]) == []
    assert subjects.list() == []


def test_read_only_and_unknown_members_are_ignored(subjects: Subjects) -> None:
    [written] = subjects.upsert([{"key": "a", "id": "mine", "createdAt": "never", "colour": "red"}])

    assert written.id != "mine"
    assert written.created_at == NOON


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([{"key": "a"}, {}], "subject 1: key: Field required"),
        ([{"key": ""}], "subject 0: key: must not be empty"),
        ([{"key": "a\tb"}], "subject 0: key: holds a control character"),
        ([{"key": "ü" * 1025}], "subject 0: key: is longer than 2048 bytes"),
        ([{"key": None}], "subject 0: key: Input should be a valid string"),
        ([{"key": "a", "displayName": 7}], "subject 0: displayName: Input should be a valid string"),
        ([{"key": "a", "metadata": []}], "subject 0: metadata: Input should be a valid dictionary"),
        ([{"key": "a", "stripeCustomerId": "acct_1"}], "subject 0: stripeCustomerId: must start with cus_"),
        (
            [{"key": "a", "currentPeriodStart": "2025-03-01"}],
            "subject 0: currentPeriodStart: not an RFC 3339 timestamp with an offset",
        ),
        (
            [{"key": "a", "currentPeriodEnd": 1740830400}],
            "subject 0: currentPeriodEnd: not an RFC 3339 timestamp with an offset",
        ),
        (
            [{"key": "a", "currentPeriodEnd": "0001-01-01T00:00:00+01:00"}],
            "subject 0: currentPeriodEnd: not within the years 0001 to 9999 in UTC",
        ),
        (
            [{"key": ""}, {"key": "b"}, {"key": "c", "stripeCustomerId": ""}],
            "subject 0: key: must not be empty\nsubject 2: stripeCustomerId: must start with cus_",
        ),
        (
            ["a"],
            "subject 0: must be an object",
        ),
        ({"key": "a"}, "body: Input should be a valid list"),
        (None, "body: Input should be a valid list"),
    ],
)
def test_a_fault_is_named_by_index_and_field_and_nothing_is_written(
    subjects: Subjects, body: object, message: str
) -> None:
    assert refusal(subjects, body) == message
    assert subjects.list() == []


def test_an_id_is_looked_up_before_a_key(subjects: Subjects) -> None:
    [first] = subjects.upsert([{"key": "customer-1"}])
    [second] = subjects.upsert([{"key": first.id}])

    assert subjects.find(first.id) == first
    assert subjects.find(first.id.lower()) == first
    assert subjects.find(second.id) == second


def test_keys_are_told_apart_to_the_letter(subjects: Subjects) -> None:
    subjects.upsert([{"key": key} for key in ("a", "A", "a ", "it's", "a\\nb", "%")])

    assert subjects.find("a\\nb").key == "a\\nb"
    assert subjects.find("it's").key == "it's"
    assert subjects.find("a ").key == "a "
    with pytest.raises(NotFound, match="subject not found: b"):
        subjects.find("b")


def test_a_deleted_subject_is_gone_and_its_key_may_be_created_anew(subjects: Subjects, clock: StoppedClock) -> None:
    [old] = subjects.upsert([{"key": "customer-1", "displayName": "Old"}, {"key": "customer-2"}])[:1]

    subjects.delete("customer-1")

    with pytest.raises(NotFound):
        subjects.find("customer-1")
    with pytest.raises(NotFound):
        subjects.find(old.id)
    with pytest.raises(NotFound):
        subjects.delete("customer-1")
    assert [subject.key for subject in subjects.list()] == ["customer-2"]

    clock.at = LATER
    [new] = subjects.upsert([{"key": "customer-1"}])

    assert new.id != old.id
    assert new.display_name is None
    assert new.created_at == LATER
    assert subjects.find("customer-1") == new


def test_a_subject_is_deleted_by_id_too(subjects: Subjects) -> None:
    [written] = subjects.upsert([{"key": "customer-1"}])

    subjects.delete(written.id)

    assert subjects.list() == []


def test_subjects_are_listed_oldest_first(subjects: Subjects, clock: StoppedClock) -> None:
    for key in ("c", "a", "b"):
        subjects.upsert([{"key": key}])
        clock.at += timedelta(seconds=1)
    subjects.upsert([{"key": "c", "displayName": "C"}])

    assert [subject.key for subject in subjects.list()] == ["c", "a", "b"]


def test_names_are_those_of_live_subjects(subjects: Subjects) -> None:
    subjects.upsert([{"key": "a", "displayName": 'Ärzte "A"'}, {"key": "b"}, {"key": "c", "displayName": "C"}])
    subjects.delete("c")

    assert subjects.names() == {"a": 'Ärzte "A"', "b": None}
    assert subjects.names(["b", "c", "x"]) == {"b": None}


def test_another_process_sees_what_was_written(subjects: Subjects, store: Store) -> None:
    [written] = subjects.upsert([{"key": "customer-1"}])

    assert Subjects(store).find("customer-1") == written


def test_of_one_key_created_twice_at_once_the_older_stands_and_both_go(store: Store) -> None:
    rows = [
        [id_, 1, "customer-1", f'{{"displayName":"{name}"}}', at, at, None]
        for id_, name, at in (("01B", "second", LATER), ("01A", "first", NOON))
    ]
    store.insert_rows(
        "subjects", ["id", "version", "key", "definition", "created_at", "updated_at", "deleted_at"], rows
    )
    subjects = Subjects(store)

    assert [subject.display_name for subject in subjects.list()] == ["first"]
    assert subjects.names() == {"customer-1": "first"}
    assert subjects.find("customer-1").id == "01A"

    subjects.delete("customer-1")

    assert subjects.list() == []


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("customer-1", None),
        ("客户 1", None),
        ("x" * 2048, None),
        ("x" * 2049, "is longer than 2048 bytes"),
        ("", "must not be empty"),
        ("a\0", "holds a control character"),
        ("\ud800", "holds a control character"),
        ("a\x9f", "holds a control character"),
    ],
)
def test_a_key_is_what_the_subject_of_an_event_may_be(key: str, problem: str | None) -> None:
    assert key_problem(key) == problem
