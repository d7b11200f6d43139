"""Dead letters, that is records that are not events: they are listed, and replayed when they have become valid.

    GET  /api/v1/dead-letters          lists them, newest first
    POST /api/v1/dead-letters/replay   sends those that are valid events under the current rules to the event log again

Owns: how a request selects letters, and the order of a replay: a batch is checked, then made durable in the event log,
then marked as replayed. Which event is sent for a letter is defined in engine/dead_letters/replay.py.
Source: docs/contract.md D.13, D.22, D.25 and "Dead letters".
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Concatenate, ParamSpec, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.bodies import JsonInstant, read_model
from api.http.paging import next_page
from api.http.parameters import Parameters
from api.http.problems import InvalidParameter, redact_tokens
from api.http.responses import json_response
from engine.dead_letters import listing, replay
from engine.dead_letters.listing import DeadLetterFilter
from engine.dead_letters.replay import Problem, Sendable
from engine.errors import TooLarge
from engine.events.cloudevents import TimeSpan
from engine.filters import check_operand
from engine.instants import Instant, milliseconds, parse_instant
from engine.listings.log_position import LogPosition, parse_cursor
from engine.store.clickhouse import Store

P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger(__name__)
_MAX_PROBLEMS = 100  # listed in the answer to one replay
_PAGE_LETTERS = 10_000  # letters that are selected at a time
_PARTITION_BITS, _OFFSET_BITS = 31, 63


async def list_dead_letters(dependencies: Dependencies, request: Request) -> Response:
    """List dead letters, newest first; a full page has a link to the next one."""
    query = Parameters(request)
    limit, cursor = query.integer("limit", 100, 1, 100), query.text("before")
    before = None if cursor is None else parse_cursor(cursor)
    filter_ = DeadLetterFilter(
        from_=query.instant("from"),
        to=query.instant("to"),
        partition=_bounded_integer(query, "partition", _PARTITION_BITS),
        offset=_bounded_integer(query, "offset", _OFFSET_BITS),
        reason=query.text("reason"),
        replayed=None if query.text("replayed") is None else query.flag("replayed"),
    )
    found = await in_thread(request, lambda: listing.list_dead_letters(dependencies.store, limit, before, filter_))
    link = next_page(request, _position(found[-1]), limit) if len(found) == limit else None
    return json_response(found, headers=link)


def _bounded_integer(query: Parameters, name: str, bits: int) -> int | None:
    return None if query.text(name) is None else query.integer(name, 0, 0, (1 << bits) - 1)


def _position(letter: dict[str, object]) -> LogPosition:
    return LogPosition(_arrived_ms(str(letter["arrivedAt"])), int(str(letter["partition"])), int(str(letter["offset"])))


def _arrived_ms(text: str) -> int:
    return parse_instant(text).nanos // 1_000_000


# Replay


_Partition = Annotated[int, Field(strict=True, ge=0, lt=1 << _PARTITION_BITS)]
_Offset = Annotated[int, Field(strict=True, ge=0, lt=1 << _OFFSET_BITS)]


class LetterPosition(BaseModel):
    """The position of a dead letter, as it is listed."""

    model_config = ConfigDict(extra="ignore")

    arrived_at: JsonInstant = Field(alias="arrivedAt")
    partition: _Partition
    offset: _Offset

    @property
    def position(self) -> LogPosition:
        """Return the same position as the engine's type."""
        return LogPosition(self.arrived_at.nanos // 1_000_000, self.partition, self.offset)


class ReplayBody(BaseModel):
    """Which letters to replay. Unknown members are refused: a misspelt filter must not select every letter."""

    model_config = ConfigDict(extra="forbid")

    positions: list[LetterPosition] | None = Field(default=None, min_length=1, max_length=1000)
    from_: JsonInstant | None = Field(default=None, alias="from")
    to: JsonInstant | None = None
    partition: _Partition | None = None
    offset: _Offset | None = None
    reason: Annotated[str, AfterValidator(check_operand)] | None = Field(default=None, min_length=1)
    all: StrictBool = False
    dry_run: StrictBool = Field(default=False, alias="dryRun")
    limit: int | None = Field(default=None, strict=True, ge=1, le=_PAGE_LETTERS)
    after: str | None = None


async def replay_dead_letters(dependencies: Dependencies, request: Request) -> Response:
    """Send letters that are valid events now to the event log again; answer when all of them are durable there."""
    body = await read_model(request, dependencies.settings.server.body_limit_bytes, ReplayBody)
    run = _Replay(dependencies, request, _letter_filter(body), body.dry_run)
    await run.replay_all(None if body.after is None else parse_cursor(body.after), body.limit)
    if not body.dry_run:
        logger.info("dead_letters_replayed replayed=%d still_invalid=%d", run.replayed, run.still_invalid)
    return json_response(await run.answer())


def _letter_filter(body: ReplayBody) -> DeadLetterFilter:
    """Return the filter of a body; it selects only letters that were never replayed. Raises: InvalidParameter."""
    filters = (body.from_, body.to, body.partition, body.offset, body.reason)
    ways = [body.positions is not None, any(value is not None for value in filters), body.all]
    if ways.count(True) != 1:
        raise InvalidParameter(
            "invalid request body: give exactly one of: positions; all; or filters "
            "(from, to, partition, offset, reason)"
        )
    if body.positions is not None and (body.limit or body.after):
        raise InvalidParameter("invalid request body: limit and after cannot be used with positions")
    return DeadLetterFilter(
        from_=body.from_,
        to=body.to,
        partition=body.partition,
        offset=body.offset,
        reason=body.reason,
        replayed=False,
        positions=list(dict.fromkeys(place.position for place in body.positions or ())),
    )


class _Replay:
    """One replay, with its results so far."""

    def __init__(self, dependencies: Dependencies, request: Request, filter_: DeadLetterFilter, dry_run: bool) -> None:
        self.replayed = 0
        self.already_stored = 0
        self.still_invalid = 0
        self._problems: list[Problem] = []
        self._missing = set(filter_.positions)
        self._dependencies = dependencies
        self._request = request
        self._filter = filter_
        self._dry_run = dry_run
        self._span = TimeSpan.of(dependencies.settings.ingest)
        self._batch_bytes = min(replay.BATCH_BYTES, dependencies.settings.log.max_bytes // 2)
        self._end: LogPosition | None = None  # the last checked letter, if there may be more after it

    async def replay_all(self, after: LogPosition | None, limit: int | None) -> None:
        """Replay the letters after `after` (None: from the first one), at most `limit` of them (None: all)."""
        left = limit
        while left != 0:
            page = min(left or _PAGE_LETTERS, _PAGE_LETTERS)
            chosen = await self._call(replay.choose, self._filter, after, page)
            for positions in replay.batches(chosen, self._batch_bytes):
                await self._replay(positions)
            self._missing.difference_update(letter.position for letter in chosen)
            if len(chosen) < page:
                return
            after = chosen[-1].position
            left = left and left - page
        self._end = after

    async def answer(self) -> dict[str, object]:
        """Return the results as JSON. The member `next` is the cursor from which another request can continue."""
        remaining = await self._call(replay.count_left, self._filter, self._end) if self._end else 0
        missing = [Problem(place, "dead letter not found or already replayed") for place in sorted(self._missing)]
        return {
            "replayed": self.replayed,
            **({"alreadyStored": self.already_stored} if self.already_stored else {}),
            "stillInvalid": self.still_invalid,
            "problems": [_problem(problem) for problem in [*self._problems, *missing][:_MAX_PROBLEMS]],
            **({"next": self._end.cursor, "remaining": remaining} if self._end and remaining else {}),
        }

    async def _replay(self, positions: Sequence[LogPosition]) -> None:
        now_ms = milliseconds(self._dependencies.clock())
        batch = await self._call(replay.check, positions, now_ms, self._span)
        problems = [*batch.problems, *([] if self._dry_run else await self._send(batch.sendable, now_ms))]
        good = batch.positions - {problem.position for problem in problems}
        if good and not self._dry_run:
            await self._call(replay.mark, sorted(good), now_ms)
        self.replayed += len(good)
        self.already_stored += len(good & {*batch.stored, *batch.repeated})
        self.still_invalid += len(problems)
        self._problems += problems[: _MAX_PROBLEMS - len(self._problems)]

    async def _send(self, letters: Sequence[Sendable], now_ms: int) -> list[Problem]:
        """Append events to the event log and wait until they are durable. Return those that are too large for it."""
        if not letters:
            return []
        try:
            # Shielded: other requests share the commit of this append, so a disconnected client must not cancel it.
            appended = self._dependencies.appender.append([letter.event for letter in letters], now_ms)
            await asyncio.shield(asyncio.wrap_future(appended))
        except TooLarge as error:
            half = len(letters) // 2
            if not half:
                return [Problem(letters[0].position, str(error))]
            return [*await self._send(letters[:half], now_ms), *await self._send(letters[half:], now_ms)]
        return []

    async def _call(self, call: Callable[Concatenate[Store, P], T], *arguments: P.args, **named: P.kwargs) -> T:
        return await in_thread(self._request, lambda: call(self._dependencies.store, *arguments, **named))


def _problem(problem: Problem) -> dict[str, object]:
    return {
        "arrivedAt": Instant(problem.position.at_ms * 1_000_000).text,
        "partition": problem.position.partition,
        "offset": problem.position.offset,
        "reason": redact_tokens(problem.reason.encode("utf-8", "replace").decode()),
    }
