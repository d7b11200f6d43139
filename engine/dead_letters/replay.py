"""Dead letters back into the event log: those that are events by today's rules.

Owns: which letters are chosen, the event that is sent for each, and the marks of those that need not be sent again.
Who replays sends a batch to the log and marks it once it is durable there; cut off in between, it is sent again, and
an event counts once whatever is sent (docs/design.md R10). The duplicate check forgets, dead letters stay: therefore
a letter whose event is stored already is marked and not sent, however long ago that was.
An event without `time` happened when the log first took it, so it is sent with that time (or when the letter was
stored, if an older release kept an arrival that cannot be true). Everything else of it is sent as it came, digit by
digit.
Limits: a batch is `BATCH_LETTERS` letters and BATCH_BYTES bytes, or one letter however long it is.
Source: docs/contract.md 3.3.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec
import orjson
import pyarrow as pa

from engine.dead_letters.listing import DeadLetterFilter
from engine.errors import InvalidEvent
from engine.events.arrivals import is_credible
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.kafka import Headers, structured
from engine.ids import new_ulid
from engine.instants import Instant
from engine.log_position import LogPosition
from engine.store import sql
from engine.store.clickhouse import Store

BATCH_LETTERS = 5000
BATCH_BYTES = 4 << 20
KEYS_KEPT_LONGER = timedelta(days=7)  # event_keys outlives the duplicate window by so much (engine/store/migrations.py)
_MILLISECOND = pa.timestamp("ms", "UTC")
_REPLACED = "\ufffd"  # what stands for bytes of a header that were not UTF-8
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Chosen(NamedTuple):
    """A letter to look at, and how many bytes it is."""

    position: LogPosition
    size: int


class Letter(NamedTuple):
    """A dead letter, whole. `stored_ms`: when it was stored."""

    position: LogPosition
    stored_ms: int
    reason: str
    value: bytes
    headers: Headers | None


class Sendable(NamedTuple):
    """A letter that is an event, and the event's JSON as it is sent."""

    position: LogPosition
    event: bytes


class Problem(NamedTuple):
    """A letter that is not replayed, and why."""

    position: LogPosition
    reason: str


class ReplayBatch(NamedTuple):
    """What some letters are today: events to be sent, events that are stored already, or neither.

    repeated: those of the events to be sent that will be dropped, since another letter of the batch has their id.
    """

    sendable: list[Sendable]
    stored: list[LogPosition]
    problems: list[Problem]
    repeated: list[LogPosition]

    @property
    def positions(self) -> set[LogPosition]:
        """All of them."""
        return {
            *self.stored,
            *(letter.position for letter in self.sendable),
            *(problem.position for problem in self.problems),
        }


def choose(store: Store, wanted: DeadLetterFilter, after: LogPosition | None, limit: int) -> list[Chosen]:
    """Return the letters behind `after`, the first arrived first."""
    behind = after or (None, None, None)
    rows = store.rows(
        wanted.statement("events/dead_letters_chosen"),
        **wanted.parameters,
        after_ms=behind[0],
        after_partition=behind[1],
        after_offset=behind[2],
        limit=limit,
    )
    return [Chosen(LogPosition(*place), size) for *place, size in rows]


def count_left(store: Store, wanted: DeadLetterFilter, after: LogPosition) -> int:
    """Return how many letters are behind `after`."""
    statement = wanted.statement("events/dead_letters_left")
    places = {"after_ms": after.at_ms, "after_partition": after.partition, "after_offset": after.offset}
    return int(store.rows(statement, **wanted.parameters, **places)[0][0])


def batches(chosen: Sequence[Chosen], most_bytes: int = BATCH_BYTES) -> Iterator[list[LogPosition]]:
    """Group letters into what is sent at a time."""
    batch: list[LogPosition] = []
    size = 0
    for position, length in chosen:
        if batch and (len(batch) == BATCH_LETTERS or size + length > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(position)
        size += length
    if batch:
        yield batch


def check(store: Store, positions: Sequence[LogPosition], now_ms: int, span: TimeSpan) -> ReplayBatch:
    """Read letters and judge them as events that arrive now."""
    keys: dict[str, list[Sendable]] = {}
    problems = []
    for letter in _read(store, positions):
        try:
            event, key = _event(letter, now_ms, span)
        except InvalidEvent as error:
            problems.append(Problem(letter.position, str(error)))
        else:
            keys.setdefault(key.hex().upper(), []).append(Sendable(letter.position, event))
    known = _stored(store, keys, now_ms)
    stored = [letter.position for key in known for letter in keys[key]]
    new = [letters for key, letters in keys.items() if key not in known]
    sendable = [letter for letters in new for letter in letters]
    repeated = [letter.position for letters in new for letter in letters[1:]]
    return ReplayBatch(sendable, stored, problems, repeated)


def mark(store: Store, positions: Sequence[LogPosition], now_ms: int) -> None:
    """Put on record that letters need not be sent again."""
    rows = {
        "arrived_at": pa.array([position.at_ms for position in positions], _MILLISECOND),
        "log_partition": pa.array([position.partition for position in positions], pa.int32()),
        "log_offset": pa.array([position.offset for position in positions], pa.int64()),
        "replayed_at": pa.array([now_ms] * len(positions), _MILLISECOND),
    }
    store.insert_block("dead_letter_replays", pa.table(rows), new_ulid())


def _read(store: Store, positions: Sequence[LogPosition]) -> list[Letter]:
    wanted = DeadLetterFilter(places=positions)
    return [
        Letter(LogPosition(*place), stored_ms, reason, base64.b64decode(value), _headers(headers))
        for *place, stored_ms, reason, value, headers in store.rows(
            wanted.statement("events/dead_letters_at"), **wanted.parameters
        )
    ]


def _headers(text: str) -> Headers | None:
    if not text:
        return None
    return [(name, None if value is None else value.encode()) for name, value in orjson.loads(text)]


def _event(letter: Letter, now_ms: int, span: TimeSpan) -> tuple[bytes, bytes]:
    """Return the event to send for a letter, and its key. Raises: InvalidEvent."""
    if not letter.value and not letter.headers:
        raise InvalidEvent(letter.reason)  # nothing was ever there: the log had lost it
    _refuse_replaced(letter.headers)
    value = structured(letter.value, letter.headers)
    event = decode_event(value, now_ms, letter.position.partition, letter.position.offset, span)
    at_ms = letter.position.at_ms
    timed = with_time(value, at_ms if is_credible(at_ms, letter.stored_ms) else letter.stored_ms)
    if timed is not value:
        decode_event(timed, now_ms, letter.position.partition, letter.position.offset, span)
    return timed, event.key


def _refuse_replaced(headers: Headers | None) -> None:
    """Refuse headers of CloudEvents that are not kept as they came: they would make another event.

    Raises: InvalidEvent.
    """
    for name, value in headers or ():
        ours = name.lower() == "content-type" or name.lower().startswith("ce_")
        if ours and _REPLACED.encode() in (value or b""):
            raise InvalidEvent(f"header {name} was not UTF-8")


def with_time(value: bytes, at_ms: int) -> bytes:
    """Return an event's JSON with a `time`, if it has none; every other member keeps its text."""
    members = _members.decode(value)
    if bytes(members.get("time", b"null")) != b"null":
        return value
    return msgspec.json.encode({**members, "time": Instant(at_ms * 1_000_000).text})


def _stored(store: Store, letters: Mapping[str, Sequence[Sendable]], now_ms: int) -> set[str]:
    """Return which keys (in hex) of letters are those of stored events."""
    found = _keys(store, "events/remembered_keys", list(letters))
    forgotten_ms = now_ms - round(KEYS_KEPT_LONGER.total_seconds() * 1000)
    late = [
        key
        for key, alike in letters.items()
        if key not in found and min(letter.position.at_ms for letter in alike) <= forgotten_ms
    ]
    return found | _keys(store, "events/stored_keys", late)


def _keys(store: Store, statement: str, keys: Sequence[str]) -> set[str]:
    return {key for (key,) in store.rows(sql.statement(statement), keys=keys)} if keys else set()
