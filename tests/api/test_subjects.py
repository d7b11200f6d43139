"""Subjects over HTTP."""

import json
from collections.abc import Callable

import pytest

from tests.harness.api_client import ApiClient

URL = "/api/v1/subjects"


def test_subjects_are_created_and_changed_by_key(client: ApiClient) -> None:
    """Contract 3.4: only the members present change, null clears."""
    first = client.post(URL, json=[{"key": "a", "displayName": "Anna", "metadata": {"plan": "x"}}, {"key": "b"}])
    second = client.post(URL, json=[{"key": "a", "metadata": None}])

    assert (first.status_code, second.status_code) == (200, 200)
    created, changed = first.json()[0], second.json()[0]
    assert (created["key"], created["displayName"], created["metadata"]) == ("a", "Anna", {"plan": "x"})
    assert (changed["id"], changed["displayName"], "metadata" in changed) == (created["id"], "Anna", False)
    assert sorted(item["key"] for item in client.get(URL).json()) == ["a", "b"]


@pytest.mark.parametrize("key", ["a", "org/team 1", "ключ"])
def test_a_subject_is_found_and_deleted_by_id_or_key(client: ApiClient, key: str) -> None:
    """Contract 3.4."""
    (created,) = client.post(URL, json=[{"key": key}]).json()
    for path in (f"{URL}/{key}", f"{URL}/{key.replace('/', '%2F')}", f"{URL}/{created['id']}"):
        assert client.get(path).json() == created

    assert client.delete(f"{URL}/{key}").status_code == 204

    for answer in (client.get(f"{URL}/{key}"), client.delete(f"{URL}/{created['id']}")):
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("not found error: subject not found: ")
    assert client.get(URL).json() == []
    assert client.post(URL, json=[{"key": key}]).json()[0]["id"] != created["id"]


@pytest.mark.parametrize("spelled", [str.upper, str.lower])
def test_a_text_that_is_the_id_of_one_subject_and_the_key_of_another_deletes_neither(
    client: ApiClient, spelled: Callable[[str], str]
) -> None:
    """Case S15: before, the first one was deleted, although the text is not its key."""
    (real,) = client.post(URL, json=[{"key": "real"}]).json()
    text = spelled(real["id"])
    (other,) = client.post(URL, json=[{"key": text}]).json()

    answer = client.delete(f"{URL}/{text}")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["detail"].startswith(f"conflict error: {text} is the id of one subject and the key of another")
    assert [item["key"] for item in client.get(URL).json()] == ["real", text]
    assert client.delete(f"{URL}/{other['id']}").status_code == 204
    assert client.delete(f"{URL}/{text}").status_code == 204
    assert client.get(URL).json() == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"key": "a"}, "validation error: body: "),
        (["a"], "validation error: subject 0: "),
        ([{"key": "a"}, {}], "validation error: subject 1: key: "),
        (
            [{"key": "a", "displayname": "Anna"}],
            'validation error: subject 0: "displayname" is unknown, did you mean "displayName"?',
        ),
        ([{"Key": "a"}], 'validation error: subject 0: "Key" is unknown, did you mean "key"?'),
        ([{"key": ""}], "validation error: subject 0: key: must not be empty"),
        (
            [{"key": "a", "stripeCustomerId": "x"}],
            "validation error: subject 0: stripeCustomerId: must start with cus_",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_subjects_are_refused(still: ApiClient, body: object, detail: str) -> None:
    """Contract 3.4: all or none."""
    answer = still.post(URL, json=body)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)
    assert still.get(URL).json() == []


def nested(levels: int) -> str:
    """Return objects and lists that are nested `levels` deep."""
    return '{"a":[' * (levels // 2) + "{}" * (levels % 2) + "]}" * (levels // 2)


@pytest.mark.parametrize("levels", [33, 252, 253, 1000])
def test_metadata_nested_too_deep_is_refused_and_lists_stay(client: ApiClient, levels: int) -> None:
    """Contract 3.4: before, 252 levels were stored, and after that no list of subjects could be written."""
    deep, deepest = (f'{{"key":"a","metadata":{nested(given)}}}' for given in (32, levels))
    headers = {"Content-Type": "application/json"}

    refused = client.post(URL, content=f'[{{"key":"b"}},{deepest}]', headers=headers)
    listed = client.get(URL)
    taken = client.post(URL, content=f"[{deep}]", headers=headers)

    assert refused.status_code == 400
    assert refused.json()["detail"] == "validation error: subject 1: metadata: is more than 32 levels deep"
    assert listed.json() == []
    assert taken.status_code == 200
    assert client.get(URL).json()[0]["metadata"] == json.loads(nested(32))
