"""Lists that do not fit into one field of a request are sent to the store in several fields."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.api_client import ApiClient

Send = Callable[..., None]
OTHERS = [f"other-{number}-{'x' * 2000}" for number in range(60)]


@pytest.mark.parametrize("path", ["$['{subjects:Array(String)}']", "$['n SETTINGS a = 1']"])
def test_a_path_that_looks_like_a_place_for_a_list_reads_the_same_whatever_list_is_asked_for(
    client: ApiClient, meter: Callable[..., dict[str, Any]], send: Send, path: str
) -> None:
    """S16: before, the answer was [] instead of 11 if the list of subjects was so long that it was split."""
    meter(valueProperty=path)
    send(("acme", "2026-11-01T12:00:00.500Z", {path[3:-2]: 11}))
    seconds = {"from": "2026-11-01T12:00:00.100Z", "to": "2026-11-01T12:00:00.900Z"}

    for subjects in (["acme"], ["acme", *OTHERS]):
        answer = client.post("/api/v1/meters/tokens_total/query", json={**seconds, "subject": subjects})
        assert answer.status_code == 200, answer.text
        assert [row["value"] for row in answer.json()["data"]] == [11]
