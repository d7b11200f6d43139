"""Fair sharing of the store: each tenant gets a share of the places, and the queue is limited and fair."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from starlette.requests import ClientDisconnect

from api.app import create_app
from api.dependencies import Dependencies
from api.fair_queue import MANAGEMENT, FairQueue, portal_holder
from engine.errors import Busy, TooManyRequests
from tests.api.conftest import KEY
from tests.harness.api_client import ApiClient

A, B, C = (portal_holder(name) for name in "abc")
Create = Callable[..., dict[str, Any]]
Token = Callable[..., dict[str, str]]


async def stays() -> None:
    """Behave like a client that waits for its answer."""
    await asyncio.Event().wait()


class Stage:
    """Requests that keep their place until a test ends them. `began`: the requests that have got a place, in order."""

    def __init__(self, fair_queue: FairQueue) -> None:
        self.fair_queue = fair_queue
        self.began: list[str] = []
        self._tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def ask(self, *names: str, gone: Callable[[], Awaitable[None]] = stays) -> None:
        """Start requests named `holder number`, one after another."""
        for name in names:
            end = asyncio.Event()
            self._tasks[name] = asyncio.ensure_future(self._request(name, end, gone)), end
            await settled()

    async def _request(self, name: str, end: asyncio.Event, gone: Callable[[], Awaitable[None]]) -> None:
        async with self.fair_queue.turn(name.rpartition(" ")[0], gone):
            self.began.append(name)
            await end.wait()

    async def end(self, name: str) -> None:
        task, end = self._tasks[name]
        end.set()
        await task
        await settled()

    def cancel(self, name: str) -> "asyncio.Task[None]":
        self._tasks[name][0].cancel()
        return self._tasks[name][0]

    def error(self, name: str) -> BaseException | None:
        return self._tasks[name][0].exception()


async def settled() -> None:
    """Let all tasks run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


def staged(scene: Callable[[Stage], Awaitable[None]], places: int = 4, waiting: int = 3, seconds: float = 600) -> None:
    async def run() -> None:
        await scene(Stage(FairQueue(places, waiting, seconds)))

    asyncio.run(run())


def of(holder: str, *numbers: int) -> list[str]:
    return [f"{holder} {number}" for number in numbers]


def test_one_subject_has_half_of_the_places_and_others_are_not_held_up() -> None:
    async def scene(stage: Stage) -> None:
        await stage.ask(*of(A, 1, 2, 3, 4), *of(B, 1), *of(MANAGEMENT, 1))

        assert stage.began == [*of(A, 1, 2), *of(B, 1), *of(MANAGEMENT, 1)]

    staged(scene)


def test_subjects_that_wait_are_called_in_turn() -> None:
    async def scene(stage: Stage) -> None:
        await stage.ask(*of(A, 1, 2), *of(B, 1), *of(A, 3, 4, 5), *of(B, 2), *of(C, 1))

        for ended in ("a 1", "b 1", "a 2"):
            await stage.end(portal_holder(ended))

        assert stage.began == [*of(A, 1, 2), *of(B, 1), *of(A, 3), *of(B, 2), *of(C, 1)]

    staged(scene)


def test_the_management_api_and_the_portal_leave_a_place_to_each_other() -> None:
    async def scene(stage: Stage) -> None:
        await stage.ask(*of(MANAGEMENT, 1, 2, 3, 4), *of(A, 1))
        assert stage.began == [*of(MANAGEMENT, 1, 2, 3), *of(A, 1)]

    async def other_way(stage: Stage) -> None:
        await stage.ask(*of(A, 1, 2), *of(B, 1, 2), *of(MANAGEMENT, 1))
        assert stage.began == [*of(A, 1, 2), *of(B, 1), *of(MANAGEMENT, 1)]

    staged(scene)
    staged(other_way)


@pytest.mark.parametrize("places", [1, 2, 3])
def test_with_few_places_everybody_has_a_turn(places: int) -> None:
    async def scene(stage: Stage) -> None:
        names = [*of(MANAGEMENT, 1, 2), *of(A, 1, 2), *of(B, 1, 2)]
        await stage.ask(*names)
        for _ in names:
            await stage.end(next(name for name in stage.began if name in names))
            names = [name for name in names if name not in stage.began or stage._tasks[name][0].done() is False]

        assert sorted(stage.began) == sorted([*of(MANAGEMENT, 1, 2), *of(A, 1, 2), *of(B, 1, 2)])

    staged(scene, places=places)


def test_no_more_wait_than_may() -> None:
    async def scene(stage: Stage) -> None:
        await stage.ask(*of(A, 1, 2, 3, 4, 5, 6), *of(MANAGEMENT, 1, 2, 3, 4, 5, 6), *of(B, 1))

        refused, busy = stage.error(f"{A} 6"), stage.error(f"{MANAGEMENT} 6")
        assert isinstance(refused, TooManyRequests)
        assert "the limit is 3 (query.waiting)" in str(refused)
        assert isinstance(busy, Busy)

    staged(scene)


def test_who_waits_for_too_long_is_told_so() -> None:
    async def scene(stage: Stage) -> None:
        await stage.ask(*of(A, 1, 2, 3))
        with pytest.raises(Busy, match=r"the store was busy for 0\.01 seconds"):
            await stage.end(f"{A} 3")
        await stage.end(f"{A} 1")
        await stage.ask(*of(A, 4))

        assert stage.began == of(A, 1, 2, 4)
        assert stage.fair_queue.waiting == 0

    staged(scene, seconds=0.01)


def test_a_request_whose_client_goes_leaves_the_queue() -> None:
    async def scene(stage: Stage) -> None:
        leaves = asyncio.Event()

        async def gone() -> None:
            await leaves.wait()

        await stage.ask(*of(A, 1, 2))
        await stage.ask(*of(A, 3), gone=gone)
        await stage.ask(*of(A, 4))
        leaves.set()
        await settled()
        assert isinstance(stage.error(f"{A} 3"), ClientDisconnect)
        await stage.end(f"{A} 1")

        assert stage.began == of(A, 1, 2, 4)

    staged(scene)


def test_a_request_that_the_server_ends_gives_up_its_turn_whether_called_or_not() -> None:
    async def scene(stage: Stage) -> None:
        await stage.ask(*of(A, 1, 2, 3, 4))
        stage._tasks[f"{A} 1"][1].set()
        await asyncio.sleep(0)  # the first is over; the third has got its turn but has not run yet
        await asyncio.gather(stage.cancel(f"{A} 3"), return_exceptions=True)
        await settled()
        assert stage.began == of(A, 1, 2, 4)

        await stage.ask(*of(A, 5))
        await asyncio.gather(stage.cancel(f"{A} 5"), return_exceptions=True)
        assert stage.fair_queue.waiting == 0

    staged(scene)


# --- the API over a real engine ---------------------------------------------------------------------------------------

MANY = """
INSERT INTO events (id, source, type, subject, time, data, stored_at, log_offset, key)
SELECT toString(number), 's', 'prompt', 'a', toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + number % 86400,
    concat('{"tokens":', toString(number), ',"model":"model-', toString(number), '"}'),
    toDateTime64('2026-11-02 00:00:00', 3, 'UTC'), number, reinterpretAsFixedString(toUInt128(number))
FROM numbers(90000)
"""
RAW = "/api/v1/portal/meters/tokens_total/query?groupBy=model&from=2026-11-01T00:00:00.001Z&to=2026-11-01T23:59:59.999Z"


def test_one_tenant_s_slow_questions_do_not_hold_up_another_s(
    portal: BlockingPortal, dependencies: Dependencies, meter: Create, token: Token, send: Callable[..., None]
) -> None:
    """K7: of twelve slow queries of one subject only two run, so a query of another subject does not wait for them."""
    send(("b", "2026-11-01T12:00:00Z", {"tokens": 7}))
    meter(aggregation="UNIQUE_COUNT")
    dependencies.store.command(MANY)
    slow, quick = token("a"), token("b")
    ended: list[str] = []

    async def ask(client: httpx.AsyncClient, name: str, path: str, headers: dict[str, str]) -> None:
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        ended.append(name)

    async def together() -> None:
        transport = httpx.ASGITransport(create_app(dependencies))
        async with httpx.AsyncClient(transport=transport, base_url="http://meterport", timeout=600) as client:
            asked = [asyncio.ensure_future(ask(client, "a", RAW, slow)) for _ in range(12)]
            await settled()
            await ask(client, "b", "/api/v1/portal/meters/tokens_total/query", quick)
            await asyncio.gather(*asked)

    portal.call(together)

    assert ended.count("a") == 12
    assert ended.index("b") < 6


def test_more_questions_than_may_wait_are_refused(
    portal: BlockingPortal, dependencies: Dependencies, meter: Create, token: Token
) -> None:
    """Contract "Requests": 429 `too-many-requests` with Retry-After for a token, 503 `busy` for the management API."""
    meter()
    headers = token("a")
    settings = dependencies.settings
    small = settings.model_copy(update={"query": settings.query.model_copy(update={"waiting": 1})})
    app = create_app(replace(dependencies, settings=small))
    management, holder = ApiClient(portal, app, {"Authorization": f"Bearer {KEY}"}), ApiClient(portal, app)

    async def held(name: str) -> AsyncExitStack:
        """Fill the places and the queue of a holder."""
        stack = AsyncExitStack()
        for _ in range(3 if name == MANAGEMENT else 2):
            await stack.enter_async_context(app.state.fair_queue.turn(name, stays))
        app.state.fair_queue._enqueue(name)
        return stack

    with_token = portal.call(partial(held, A))
    refused = holder.get("/api/v1/portal/meters/tokens_total/query", headers=headers)
    portal.call(with_token.aclose)
    with_key = portal.call(partial(held, MANAGEMENT))
    busy = management.get("/api/v1/meters/tokens_total/query")
    portal.call(with_key.aclose)

    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (
        429,
        "too-many-requests",
        "1",
    )
    assert (busy.status_code, busy.json()["code"], busy.headers["Retry-After"]) == (503, "busy", "1")
