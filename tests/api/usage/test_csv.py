"""Usage is answered in CSV if the request names this type alone, with the display names of subjects."""

import pytest

from tests.api.conftest import QUERY, Create
from tests.api.usage.conftest import JANUARY
from tests.harness.api_client import ApiClient

CSV_ROWS = (
    "window_start,window_end,subject,type,model,value\n"
    "2025-01-01T00:00:00Z,2025-02-01T00:00:00Z,customer-1,in,a,0.1\n"
    "2025-01-01T00:00:00Z,2025-02-01T00:00:00Z,customer-1,out,a,0.2\n"
    '2025-01-01T00:00:00Z,2025-02-01T00:00:00Z,customer-2,in,"b,""x""",5\n'
)


@pytest.mark.usefixtures("usage")
@pytest.mark.parametrize("accept", ["text/csv", "Text/CSV", "text/csv;q=1", "text/csv; charset=utf-8"])
def test_csv_is_answered_to_exactly_one_media_type(client: ApiClient, accept: str) -> None:
    """Contract 1.4, D.5, D.9: exact decimals, subject first, then the keys in the order asked for."""
    answer = client.get(f"{QUERY}?{JANUARY}&groupBy=type&groupBy=model&groupBy=subject", headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == "attachment; filename=tokens_total.csv"
    assert answer.text == CSV_ROWS


@pytest.mark.parametrize("accept", ["text/csv, application/json", "*/*", "application/json", "text/*", "", "text/csvx"])
def test_json_is_answered_to_everything_else(still: ApiClient, accept: str) -> None:
    """Contract 1.4."""
    answer = still.get(QUERY, headers={"Accept": accept})

    assert answer.headers["content-type"] == "application/json"


def test_csv_is_named_for_the_slug_when_asked_by_id(client: ApiClient, meter: Create) -> None:
    created = meter()

    answer = client.get(f"/api/v1/meters/{created['id']}/query", headers={"Accept": "text/csv"})

    assert answer.headers["content-disposition"] == "attachment; filename=tokens_total.csv"
    assert answer.text == "window_start,window_end,value\n"


@pytest.mark.usefixtures("usage")
def test_csv_names_subjects_that_have_a_name(client: ApiClient) -> None:
    """Contract 4.7: the column exists if at least one subject of the answer has a name. It is empty for the others."""

    def csv(query: str) -> list[list[str]]:
        text = client.get(f"{QUERY}?{JANUARY}&{query}", headers={"Accept": "text/csv"}).text
        return [line.split(",")[2:] for line in text.splitlines()]

    before = csv("groupBy=subject")
    client.post("/api/v1/subjects", json=[{"key": "customer-1", "displayName": 'Anna "A"'}, {"key": "customer-3"}])

    assert before == [["subject", "value"], ["customer-1", "0.3"], ["customer-2", "5"]]
    assert csv("groupBy=type&groupBy=subject&filterGroupBy[type]=in") == [
        ["subject", "subject_display_name", "type", "value"],
        ["customer-1", '"Anna ""A"""', "in", "0.1"],
        ["customer-2", "", "in", "5"],
    ]
    assert csv("subject=customer-2") == [["subject", "value"], ["customer-2", "5"]]
    assert csv("groupBy=type")[0] == ["type", "value"]
    client.delete("/api/v1/subjects/customer-1")
    assert csv("groupBy=subject") == before
    client.post("/api/v1/subjects", json=[{"key": "customer-2"}])
    assert csv("subject=customer-2") == [["subject", "subject_display_name", "value"], ["customer-2", "", "5"]]
