"""Many CloudEvents at once, column by column: the events and the refusals that `decode_event` finds one by one.

Owns: tests of whole columns that no invalid event passes. What does not pass is left to `decode_event`, which alone
knows the rules and says why an event is refused; so a test here may be too strict, never too lax.
What msgspec makes sure of when it skips over `data` (`json_skip` in its _core.c) is not tested again: JSON's grammar,
its escapes and the surrogates in them, no control characters. It looks at no UTF-8, at no number's size, at no depth,
and of two members of one name it takes the last.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from engine.errors import InvalidEvent
from engine.events.cloudevents import (
    NESTING,
    TimeSpan,
    decode_event,
    has_control,
    is_json,
)
from engine.events.envelopes import STAND_IN, Columns, decode_envelopes, with_doubled
from engine.events.event import Event, EventBatch, Numbers, event_key
from engine.instants import LAST_MS

_Mask = npt.NDArray[np.bool_]
_Letters = npt.NDArray[np.uint8]
_Instants = npt.NDArray[np.datetime64]
_Offsets = npt.NDArray[np.timedelta64]
_TIME = b"0000-00-00T00:00:00"
_PLACES = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))  # of year, month, day, hour, minute, second
_FRACTIONS = frozenset({0, *range(2, 11)})  # characters: none, or a point and one to nine digits
_TIME_LENGTHS = range(20, 36)

# A number too large for a double has 150 digits in a row, or three in its exponent.
_SHAPES = bytes.maketrans(b"123456789E", b"000000000e")
_HUGE = (b"0" * 150, b"0e000", b"0e+000")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of some values. `places`: the index of each event's value. `refused`: that of the others, and why."""

    events: EventBatch
    places: Numbers
    refused: list[tuple[int, InvalidEvent]]


def decode_events(
    values: Sequence[bytes],
    arrived_ms: Sequence[int],
    partitions: Sequence[int],
    offsets: Sequence[int],
    span: TimeSpan,
) -> Decoded:
    """Decode structured-mode CloudEvents, each with the result or the error of `decode_event`."""
    envelopes = decode_envelopes(values)
    plain, extended = envelopes.plain, envelopes.extended
    doubtful = np.array([event is STAND_IN for event in plain], np.bool_)
    ids, sources = [event.id for event in plain], [event.source for event in plain]
    types, subjects = [event.type for event in plain], [event.subject for event in plain]
    for texts in (ids, sources, types, subjects):
        doubtful[_with_control(texts)] = True
    arrived = np.array(arrived_ms, np.int64)
    given = [event.time for event in plain]
    times = _times([time or "" for time in given], arrived)
    doubtful |= (times < max(span.earliest_ms, 0)) | (times - arrived > span.future_ms) | (times > LAST_MS)
    data = [event.data for event in plain]
    joined = _joined(data)
    doubtful |= _unsure(*joined)
    media_types = [event.datacontenttype for event in plain]
    doubtful[_not_json(media_types)] = True
    sent = Columns(given, media_types, joined[0], int(np.count_nonzero(np.diff(joined[1]))))
    doubtful[with_doubled(values, envelopes, sent)] = True
    extensions = _extensions(media_types, extended)

    columns: list[Any] = [ids, sources, types, subjects, times, data, extensions]
    rows = np.flatnonzero(doubtful).tolist()
    refused = _decode_one_by_one(
        rows, columns, lambda at: decode_event(values[at], arrived_ms[at], partitions[at], offsets[at], span)
    )
    text, bounds = _joined(data) if rows else joined
    events = EventBatch.of(
        ids, sources, types, subjects, times, _column(text, bounds), extensions,
        arrived, partitions, np.array(offsets, np.int64), list(map(event_key, sources, ids)),
    )  # fmt: skip
    valid = np.ones(len(values), np.bool_)
    valid[[row for row, _ in refused]] = False
    return Decoded(events.where(valid), np.flatnonzero(valid), refused)


def _decode_one_by_one(
    rows: Sequence[int], columns: Sequence[Any], decode: Callable[[int], Event]
) -> list[tuple[int, InvalidEvent]]:
    """Decode rows exactly and put what they are into the columns. Returns those that are refused."""
    refused = []
    for row in rows:
        try:
            event = decode(row)
        except InvalidEvent as error:
            refused.append((row, error))
        else:
            for column, part in zip(columns, event, strict=False):
                column[row] = part
    return refused


def _with_control(texts: Sequence[str]) -> list[int]:
    if "".join(texts).isprintable():
        return []
    return [at for at, text in enumerate(texts) if has_control(text)]


def _extensions(media_types: Sequence[str | None], extended: Mapping[int, bytes]) -> list[bytes]:
    """Return the extensions of each event: a media type at most, where it is not among `extended`."""
    known = {kind: b"" if kind is None else orjson.dumps({"datacontenttype": kind}) for kind in set(media_types)}
    extensions = [known[kind] for kind in media_types]
    for at, text in extended.items():
        extensions[at] = text
    return extensions


def _not_json(media_types: Sequence[str | None]) -> list[int]:
    others = {kind for kind in set(media_types) if kind is not None and not is_json(kind)}
    return [at for at, kind in enumerate(media_types) if kind in others] if others else []


def _times(texts: Sequence[str], arrived_ms: Numbers) -> Numbers:
    """Return Unix milliseconds: the arrival where there is no text, far below zero where it is in no plain form."""
    times = arrived_ms.astype("M8[ms]")
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    for length in set(lengths.tolist()) - {0}:
        rows = np.flatnonzero(lengths == length)
        times[rows] = np.datetime64("NaT")
        if length in _TIME_LENGTHS:
            joined = "".join(texts if len(rows) == len(texts) else [texts[row] for row in rows.tolist()])
            letters = np.frombuffer(joined.encode("ascii", "replace"), np.uint8).reshape(-1, length)
            utc = letters[:, -1] == ord("Z")
            times[rows[utc]] = _local(letters[utc, :-1])
            times[rows[~utc]] = _local(letters[~utc, :-6]) - _offsets(letters[~utc, -6:])
    return times.astype(np.int64)


def _local(letters: _Letters) -> _Instants:
    """Read times such as 2026-11-23T09:30:00.125, a row each, as if they were UTC; NaT is what is none.

    (numpy's own parser, given 500 texts or more, ends the process where one of them is no instant: numpy 2.4.)
    """
    fraction = letters.shape[1] - len(_TIME)
    if fraction not in _FRACTIONS:
        return np.full(len(letters), "NaT", "M8[ms]")
    year, month, day, hour, minute, second = (_number(letters, *place) for place in _PLACES)
    digits = max(min(fraction - 1, 3), 0)
    milliseconds = _number(letters, len(_TIME) + 1, len(_TIME) + 1 + digits) * 10 ** (3 - digits)
    first_day = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    days = ((first_day + 1).astype("M8[D]") - first_day.astype("M8[D]")).astype(np.int64)
    fits = _fit(letters, _TIME + b".000000000"[:fraction]) & (year > 0) & (month > 0) & (month <= 12)
    fits &= (day > 0) & (day <= days) & (hour < 24) & (minute < 60) & (second < 60)
    seconds = ((day - 1) * 24 + hour) * 3600 + minute * 60 + second
    instants: _Instants = first_day.astype("M8[ms]") + (seconds * 1000 + milliseconds)
    instants[~fits] = np.datetime64("NaT")
    return instants


def _offsets(letters: _Letters) -> _Offsets:
    """Read offsets such as +01:00, a row each."""
    east, west = (letters[:, 0] == ord(sign) for sign in "+-")
    hours, minutes = _number(letters, 1, 3), _number(letters, 4, 6)
    offsets: _Offsets = (np.where(west, -1, 1) * (hours * 60 + minutes)).astype("m8[m]")
    offsets[~(_fit(letters[:, 1:], b"00:00") & (east | west) & (hours < 24) & (minutes < 60))] = np.timedelta64("NaT")
    return offsets


def _number(letters: _Letters, start: int, end: int) -> Numbers:
    """Return the number in some columns; nonsense where there are others than digits."""
    number = np.zeros(len(letters), np.int64)
    for place in range(start, end):
        number = number * 10 + (letters[:, place] & 15)
    return number


def _fit(letters: _Letters, form: bytes) -> _Mask:
    """Return which rows have a digit where the form has a zero, and are like the form everywhere else."""
    wanted = np.frombuffer(form, np.uint8)
    most = np.where(wanted == ord("0"), np.uint8(9), np.uint8(0))
    return np.asarray(np.all(letters ^ wanted <= most, axis=1))


def _joined(texts: Sequence[msgspec.Raw | bytes]) -> tuple[bytes, Numbers]:
    """Return texts in one piece, and where each begins and ends."""
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=bounds[1:])
    return b"".join(texts), bounds


def _column(text: bytes, bounds: Numbers) -> pa.Array:
    return pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(text))


def _unsure(text: bytes, bounds: Numbers) -> _Mask:
    """Return which data, of which msgspec has made sure that it is JSON, may be refused."""
    starts, ends = bounds[:-1], bounds[1:]
    unsure = np.zeros(len(starts), np.bool_)
    present = np.flatnonzero(ends > starts)
    first = np.frombuffer(text, np.uint8)[starts[present]]
    unsure[present[(first != ord("{")) & (first != ord("n"))]] = True
    for row in np.flatnonzero(ends - starts > 2 * NESTING).tolist():
        start, end = bounds[row], bounds[row + 1]
        unsure[row] |= text.count(b"{", start, end) + text.count(b"[", start, end) > NESTING
    suspects = {*_with_huge_numbers(text, bounds), *_with_broken_utf8(text, bounds)}
    unsure[[row for row in suspects if not _is_read(text[bounds[row] : bounds[row + 1]])]] = True
    return unsure


def _with_huge_numbers(text: bytes, bounds: Numbers) -> Iterator[int]:
    """Yield which rows may hold a number beyond a double. A shape spans no two rows: objects end in a brace."""
    shapes = text.translate(_SHAPES)
    ends = bounds[1:].tolist()
    for shape in _HUGE:
        at = shapes.find(shape)
        while at >= 0:
            row = bisect_right(ends, at)
            yield row
            at = shapes.find(shape, ends[row])


def _with_broken_utf8(text: bytes, bounds: Numbers) -> list[int]:
    """Return which rows may hold broken UTF-8."""
    try:
        _column(text, bounds).validate(full=True)
    except pa.ArrowInvalid:
        return [row for row, (start, end) in enumerate(pairwise(bounds.tolist())) if not text[start:end].isascii()]
    return []


def _is_read(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
