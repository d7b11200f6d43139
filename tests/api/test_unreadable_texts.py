"""Control characters are refused in names, and subjects that look alike are counted apart.

Cases S6 and S14 of the security audit.
"""

from collections.abc import Callable

import pytest

from api.dependencies import Dependencies
from engine.instants import utc_now
from engine.meters.definition import MeterDefinition
from tests.api.conftest import TOKENS_TOTAL
from tests.harness.api_client import ApiClient

ALIKE = ["acme", "ac\u200bme", "acme ", "\u202eemca", "\uff41cme", "acm\u0435", "\u00e9", "e\u0301"]


def test_subjects_that_look_alike_are_counted_apart_and_get_tokens(
    client: ApiClient, meter: Callable[..., object], send: Callable[..., None], token: Callable[..., dict[str, str]]
) -> None:
    """S14, D.40: accepted usage must stay countable."""
    meter()
    send(*[(subject, utc_now().isoformat(), {"tokens": at + 1}) for at, subject in enumerate(ALIKE)])

    rows = client.get("/api/v1/meters/tokens_total/query?groupBy=subject").json()["data"]
    assert {row["subject"]: row["value"] for row in rows} == {subject: at + 1 for at, subject in enumerate(ALIKE)}
    for at, subject in enumerate(ALIKE):
        answer = client.get("/api/v1/portal/meters/tokens_total/query", headers=token(subject))
        assert [row["value"] for row in answer.json()["data"]] == [at + 1]


CONTROLS = ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\n", "\r", "\t"]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
@pytest.mark.parametrize("member", ["name", "description", "eventType", "metadata"])
def test_a_meters_texts_hold_no_control_characters(client: ApiClient, member: str, control: str) -> None:
    """S6, contract 2.1, D.41: the same rule as for subjects. A description and metadata may have line ends and tabs."""
    text = f"a{control}b"
    wanted = {**TOKENS_TOTAL, member: {"note": text} if member == "metadata" else text}
    answer = client.post("/api/v1/meters", json=wanted)

    if member in {"description", "metadata"} and control in "\n\r\t":
        assert answer.status_code == 201
        assert answer.json()[member] == wanted[member]
    else:
        name = "metadata.note" if member == "metadata" else member
        assert answer.status_code == 400
        assert answer.json()["detail"] == f"validation error: {name}: holds a control character"


def test_a_meter_of_an_earlier_release_with_a_control_character_is_still_there(dependencies: Dependencies) -> None:
    """S6: a later rule must not lose a meter that was accepted before it."""
    dependencies.registry.create(MeterDefinition.model_validate({**TOKENS_TOTAL, "name": "a\x1bb"}))
    dependencies.registry.refresh()

    assert dependencies.registry.find("tokens_total").definition.name == "a\x1bb"


def test_a_display_name_of_a_subject_holds_no_control_character(client: ApiClient) -> None:
    """S6, contract 3.4, D.41: the name appears on the customer's page and in tables."""
    answer = client.post("/api/v1/subjects", json=[{"key": "acme", "displayName": "a\x1b[31mb"}])

    assert answer.status_code == 400
    assert answer.json()["detail"] == "validation error: subject 0: displayName: holds a control character"
