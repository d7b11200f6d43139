"""The replay of dead letters: those that are valid events under the current rules go to the event log again.

Owns: which letters are selected, the event that is sent for each, and the marks of letters that need not be sent again.
The caller sends a batch to the event log and marks it when it is durable there. If it is interrupted in between, the
batch is sent again; each event still counts once (docs/design.md R10: duplicates). The duplicate check forgets keys,
but dead letters stay. Therefore a letter whose event is already stored is marked and not sent, however old it is.
An event without `time` happened when the event log first took it, so it is sent with that time. If an older release
stored an arrival that cannot be true, it is sent with the time at which the letter was stored. Everything else is sent
unchanged, digit by digit.
Limits: a batch has at most `BATCH_LETTERS` letters and `BATCH_BYTES` bytes, or a single letter of any length.
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
from engine.events.arrival_limits import is_credible
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.kafka import Headers, to_structured_json
from engine.ids import new_ulid
from engine.instants import Instant
from engine.listings.log_position import LogPosition
from engine.store import sql
from engine.store.clickhouse import Store

BATCH_LETTERS = 5000
BATCH_BYTES = 4 << 20
# How long the table event_keys keeps a key after the duplicate window has passed (engine/store/migrations.py).
KEYS_KEPT_AFTER_WINDOW = timedelta(days=7)
_MILLISECOND = pa.timestamp("ms", "UTC")
_REPLACEMENT_CHARACTER = "\ufffd"  # replaces the bytes of a stored header that were not UTF-8
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ChosenLetter(NamedTuple):
    """A letter that was selected, and its size in bytes."""

    position: LogPosition
    size: int


class Letter(NamedTuple):
    """A complete dead letter. `stored_ms`: when it was stored, in Unix milliseconds."""

    position: LogPosition
    stored_ms: int
    reason: str
    value: bytes
    headers: Headers | None


class Sendable(NamedTuple):
    """A letter that is a valid event, and the JSON of the event as it is sent."""

    position: LogPosition
    event: bytes


class Problem(NamedTuple):
    """A letter that is not replayed, and the reason."""

    position: LogPosition
    reason: str


class ReplayBatch(NamedTuple):
    """The result of checking letters: events to be sent, events that are already stored, and letters that are neither.

    `repeated`: those of the events to be sent that will be dropped, because another letter of the batch has the same
    source and id.
    """

    sendable: list[Sendable]
    stored: list[LogPosition]
    problems: list[Problem]
    repeated: list[LogPosition]

    @property
    def positions(self) -> set[LogPosition]:
        """The positions of all letters of the batch."""
        return {
            *self.stored,
            *(letter.position for letter in self.sendable),
            *(problem.position for problem in self.problems),
        }


def choose(store: Store, filter_: DeadLetterFilter, after: LogPosition | None, limit: int) -> list[ChosenLetter]:
    """Return the letters after the position `after` (None: all), earliest arrival first, at most `limit` of them."""
    start = after or (None, None, None)
    rows = store.rows(
        filter_.statement("events/dead_letters_chosen"),
        **filter_.parameters,
        after_ms=start[0],
        after_partition=start[1],
        after_offset=start[2],
        limit=limit,
    )
    return [ChosenLetter(LogPosition(*position), size) for *position, size in rows]


def count_left(store: Store, filter_: DeadLetterFilter, after: LogPosition) -> int:
    """Return how many letters come after the position `after`."""
    statement = filter_.statement("events/dead_letters_left")
    after_parameters = {"after_ms": after.at_ms, "after_partition": after.partition, "after_offset": after.offset}
    return int(store.rows(statement, **filter_.parameters, **after_parameters)[0][0])


def batches(chosen: Sequence[ChosenLetter], max_bytes: int = BATCH_BYTES) -> Iterator[list[LogPosition]]:
    """Group letters into the batches that are sent together."""
    batch: list[LogPosition] = []
    size = 0
    for position, length in chosen:
        if batch and (len(batch) == BATCH_LETTERS or size + length > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(position)
        size += length
    if batch:
        yield batch


def check(store: Store, positions: Sequence[LogPosition], now_ms: int, span: TimeSpan) -> ReplayBatch:
    """Read letters and check them as if they were events that arrive at `now_ms` (Unix milliseconds)."""
    keys: dict[str, list[Sendable]] = {}
    problems = []
    for letter in _read(store, positions):
        try:
            event, key = _to_event(letter, now_ms, span)
        except InvalidEvent as error:
            problems.append(Problem(letter.position, str(error)))
        else:
            keys.setdefault(key.hex().upper(), []).append(Sendable(letter.position, event))
    known = _stored_keys(store, keys, now_ms)
    stored = [letter.position for key in known for letter in keys[key]]
    new = [letters for key, letters in keys.items() if key not in known]
    sendable = [letter for letters in new for letter in letters]
    repeated = [letter.position for letters in new for letter in letters[1:]]
    return ReplayBatch(sendable, stored, problems, repeated)


def mark(store: Store, positions: Sequence[LogPosition], now_ms: int) -> None:
    """Store marks that letters need not be sent again. Args: now_ms: Unix milliseconds."""
    rows = {
        "arrived_at": pa.array([position.at_ms for position in positions], _MILLISECOND),
        "log_partition": pa.array([position.partition for position in positions], pa.int32()),
        "log_offset": pa.array([position.offset for position in positions], pa.int64()),
        "replayed_at": pa.array([now_ms] * len(positions), _MILLISECOND),
    }
    store.insert_block("dead_letter_replays", pa.table(rows), new_ulid())


def _read(store: Store, positions: Sequence[LogPosition]) -> list[Letter]:
    filter_ = DeadLetterFilter(positions=positions)
    return [
        Letter(LogPosition(*position), stored_ms, reason, base64.b64decode(value), _headers(headers))
        for *position, stored_ms, reason, value, headers in store.rows(
            filter_.statement("events/dead_letters_at"), **filter_.parameters
        )
    ]


def _headers(text: str) -> Headers | None:
    if not text:
        return None
    return [(name, None if value is None else value.encode()) for name, value in orjson.loads(text)]


def _to_event(letter: Letter, now_ms: int, span: TimeSpan) -> tuple[bytes, bytes]:
    """Return the event to send for a letter, and its key. Raises: InvalidEvent."""
    if not letter.value and not letter.headers:
        raise InvalidEvent(letter.reason)  # the letter has no content, because the event log had lost the record
    _refuse_replaced_bytes(letter.headers)
    value = to_structured_json(letter.value, letter.headers)
    event = decode_event(value, now_ms, letter.position.partition, letter.position.offset, span)
    at_ms = letter.position.at_ms
    timed = add_time(value, at_ms if is_credible(at_ms, letter.stored_ms) else letter.stored_ms)
    if timed is not value:
        decode_event(timed, now_ms, letter.position.partition, letter.position.offset, span)
    return timed, event.key


def _refuse_replaced_bytes(headers: Headers | None) -> None:
    """Refuse a CloudEvents header in which bytes were replaced when it was stored: it would give another event.

    Raises: InvalidEvent.
    """
    for name, value in headers or ():
        is_cloudevents_header = name.lower() == "content-type" or name.lower().startswith("ce_")
        if is_cloudevents_header and _REPLACEMENT_CHARACTER.encode() in (value or b""):
            raise InvalidEvent(f"header {name} was not UTF-8")


def add_time(value: bytes, at_ms: int) -> bytes:
    """Return an event's JSON with `at_ms` as its `time` if it has none. All other members keep their text."""
    members = _members_decoder.decode(value)
    if bytes(members.get("time", b"null")) != b"null":
        return value
    return msgspec.json.encode({**members, "time": Instant(at_ms * 1_000_000).text})


def _stored_keys(store: Store, letters: Mapping[str, Sequence[Sendable]], now_ms: int) -> set[str]:
    """Return the keys (in hex) of the letters whose events are already stored."""
    found = _query_keys(store, "events/remembered_keys", list(letters))
    forgotten_ms = now_ms - round(KEYS_KEPT_AFTER_WINDOW.total_seconds() * 1000)
    late = [
        key
        for key, letters_of_key in letters.items()
        if key not in found and min(letter.position.at_ms for letter in letters_of_key) <= forgotten_ms
    ]
    return found | _query_keys(store, "events/stored_keys", late)


def _query_keys(store: Store, statement: str, keys: Sequence[str]) -> set[str]:
    return {key for (key,) in store.rows(sql.statement(statement), keys=keys)} if keys else set()
