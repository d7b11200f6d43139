"""The decoder of many CloudEvents at once, column by column. Its result is the same as calling `decode_event` for each.

Owns: tests of whole columns that no invalid event passes. An event that fails a test is decoded by `decode_event`,
which alone knows the rules and the reasons. So a test here may be too strict, but never too lenient.
msgspec already checks some properties when it skips over `data` (`json_skip` in its _core.c): the JSON grammar, escapes
and the surrogates in them, and control characters. They are not tested again. It does not check UTF-8, the size of
numbers or the depth, and of two members with one name it takes the last.
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
from engine.events.bulk_attributes import PLACEHOLDER, OptionalAttributes, decode_envelopes, rows_with_repeated_names
from engine.events.cloudevents import (
    MAX_NESTING,
    TimeSpan,
    decode_event,
    has_control,
    is_json,
)
from engine.events.event import Event, EventBatch, Numbers, event_key
from engine.instants import LAST_MS

_Mask = npt.NDArray[np.bool_]
_Characters = npt.NDArray[np.uint8]
_Instants = npt.NDArray[np.datetime64]
_Offsets = npt.NDArray[np.timedelta64]
_TIME_FORM = b"0000-00-00T00:00:00"
# The columns of year, month, day, hour, minute and second.
_FIELDS = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
_FRACTIONS = frozenset({0, *range(2, 11)})  # characters of a fraction: none, or a point and one to nine digits
_TIME_LENGTHS = range(20, 36)

# A number that is too large for a double has 150 digits in a row, or an exponent of three digits. In the translated
# text each digit is 0 and each E is e, so that three byte strings find all of these numbers.
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789E", b"000000000e")
_HUGE_SHAPES = (b"0" * 150, b"0e000", b"0e+000")


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of decoding a sequence of values.

    `indexes`: for each event, the index of its value. `refused`: the index of each other value, with the error.
    """

    events: EventBatch
    indexes: Numbers
    refused: list[tuple[int, InvalidEvent]]


def decode_events(
    values: Sequence[bytes],
    arrived_ms: Sequence[int],
    partitions: Sequence[int],
    offsets: Sequence[int],
    span: TimeSpan,
) -> Decoded:
    """Decode structured-mode CloudEvents. Each one gives the same event or the same error as with `decode_event`.

    Args: arrived_ms: Unix milliseconds. All sequences have the length of `values`.
    """
    envelopes = decode_envelopes(values)
    plain, extended = envelopes.plain, envelopes.extended
    doubtful = np.array([event is PLACEHOLDER for event in plain], np.bool_)
    ids, sources = [event.id for event in plain], [event.source for event in plain]
    types, subjects = [event.type for event in plain], [event.subject for event in plain]
    for texts in (ids, sources, types, subjects):
        doubtful[_rows_with_control(texts)] = True
    arrived = np.array(arrived_ms, np.int64)
    time_texts = [event.time for event in plain]
    times = _parse_times([text or "" for text in time_texts], arrived)
    doubtful |= (times < max(span.earliest_ms, 0)) | (times - arrived > span.future_ms) | (times > LAST_MS)
    data = [event.data for event in plain]
    joined = _join(data)
    doubtful |= _data_to_check(*joined)
    media_types = [event.datacontenttype for event in plain]
    doubtful[_rows_not_json(media_types)] = True
    optional = OptionalAttributes(time_texts, media_types, joined[0], int(np.count_nonzero(np.diff(joined[1]))))
    doubtful[rows_with_repeated_names(values, envelopes, optional)] = True
    extensions = _extensions(media_types, extended)

    rows = np.flatnonzero(doubtful).tolist()

    def decode_row(index: int) -> Event:
        return decode_event(values[index], arrived_ms[index], partitions[index], offsets[index], span)

    refused = _decode_one_by_one(rows, [ids, sources, types, subjects, times, data, extensions], decode_row)
    text, bounds = _join(data) if rows else joined
    events = EventBatch.of(
        ids, sources, types, subjects, times, _to_column(text, bounds), extensions,
        arrived, partitions, np.array(offsets, np.int64), list(map(event_key, sources, ids)),
    )  # fmt: skip
    valid = np.ones(len(values), np.bool_)
    valid[[row for row, _ in refused]] = False
    return Decoded(events.where(valid), np.flatnonzero(valid), refused)


def _decode_one_by_one(
    rows: Sequence[int], columns: Sequence[Any], decode: Callable[[int], Event]
) -> list[tuple[int, InvalidEvent]]:
    """Decode each of the rows exactly and write the events into the columns. Return the refused rows and the errors."""
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


def _rows_with_control(texts: Sequence[str]) -> list[int]:
    if "".join(texts).isprintable():
        return []
    return [index for index, text in enumerate(texts) if has_control(text)]


def _extensions(media_types: Sequence[str | None], extended: Mapping[int, bytes]) -> list[bytes]:
    """Return the extensions of each event. An event that is not in `extended` has a media type at most."""
    known = {
        media_type: b"" if media_type is None else orjson.dumps({"datacontenttype": media_type})
        for media_type in set(media_types)
    }
    extensions = [known[media_type] for media_type in media_types]
    for index, text in extended.items():
        extensions[index] = text
    return extensions


def _rows_not_json(media_types: Sequence[str | None]) -> list[int]:
    others = {media_type for media_type in set(media_types) if media_type is not None and not is_json(media_type)}
    return [index for index, media_type in enumerate(media_types) if media_type in others] if others else []


def _parse_times(texts: Sequence[str], arrived_ms: Numbers) -> Numbers:
    """Return the times as Unix milliseconds.

    A row without a text gets its arrival time. A row that needs `decode_event` gets NaT as an integer, far below zero.
    """
    times = arrived_ms.astype("M8[ms]")
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    for length in set(lengths.tolist()) - {0}:
        rows = np.flatnonzero(lengths == length)
        times[rows] = np.datetime64("NaT")
        if length in _TIME_LENGTHS:
            joined = "".join(texts if len(rows) == len(texts) else [texts[row] for row in rows.tolist()])
            characters = np.frombuffer(joined.encode("ascii", "replace"), np.uint8).reshape(-1, length)
            utc = characters[:, -1] == ord("Z")
            times[rows[utc]] = _parse_local_times(characters[utc, :-1])
            times[rows[~utc]] = _parse_local_times(characters[~utc, :-6]) - _parse_offsets(characters[~utc, -6:])
    return times.astype(np.int64)


def _parse_local_times(characters: _Characters) -> _Instants:
    """Parse times such as 2026-11-23T09:30:00.125, one in each row, as if they were in UTC. An invalid one gives NaT.

    numpy's own parser is not used: in numpy 2.4 it crashes the process if it gets 500 texts or more and one is invalid.
    """
    fraction = characters.shape[1] - len(_TIME_FORM)
    if fraction not in _FRACTIONS:
        return np.full(len(characters), "NaT", "M8[ms]")
    year, month, day, hour, minute, second = (_parse_digits(characters, *column) for column in _FIELDS)
    digits = max(min(fraction - 1, 3), 0)
    milliseconds = _parse_digits(characters, len(_TIME_FORM) + 1, len(_TIME_FORM) + 1 + digits) * 10 ** (3 - digits)
    first_day = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    days = ((first_day + 1).astype("M8[D]") - first_day.astype("M8[D]")).astype(np.int64)
    fits = _match_form(characters, _TIME_FORM + b".000000000"[:fraction]) & (year > 0) & (month > 0) & (month <= 12)
    fits &= (day > 0) & (day <= days) & (hour < 24) & (minute < 60) & (second < 60)
    seconds = ((day - 1) * 24 + hour) * 3600 + minute * 60 + second
    instants: _Instants = first_day.astype("M8[ms]") + (seconds * 1000 + milliseconds)
    instants[~fits] = np.datetime64("NaT")
    return instants


def _parse_offsets(characters: _Characters) -> _Offsets:
    """Parse offsets such as +01:00, one in each row. An invalid one gives NaT."""
    east, west = (characters[:, 0] == ord(sign) for sign in "+-")
    hours, minutes = _parse_digits(characters, 1, 3), _parse_digits(characters, 4, 6)
    offsets: _Offsets = (np.where(west, -1, 1) * (hours * 60 + minutes)).astype("m8[m]")
    offsets[~(_match_form(characters[:, 1:], b"00:00") & (east | west) & (hours < 24) & (minutes < 60))] = (
        np.timedelta64("NaT")
    )
    return offsets


def _parse_digits(characters: _Characters, start: int, end: int) -> Numbers:
    """Return the number in the columns [start, end) of each row. It is meaningless unless all of these are digits."""
    number = np.zeros(len(characters), np.int64)
    for column in range(start, end):
        number = number * 10 + (characters[:, column] & 15)
    return number


def _match_form(characters: _Characters, form: bytes) -> _Mask:
    """Return a mask of the rows that have a digit wherever the form has a 0, and equal the form everywhere else."""
    expected = np.frombuffer(form, np.uint8)
    max_difference = np.where(expected == ord("0"), np.uint8(9), np.uint8(0))
    return np.asarray(np.all(characters ^ expected <= max_difference, axis=1))


def _join(texts: Sequence[msgspec.Raw | bytes]) -> tuple[bytes, Numbers]:
    """Return the joined texts and n + 1 bounds: text i is at [bounds[i], bounds[i + 1])."""
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=bounds[1:])
    return b"".join(texts), bounds


def _to_column(text: bytes, bounds: Numbers) -> pa.Array:
    return pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(text))


def _data_to_check(text: bytes, bounds: Numbers) -> _Mask:
    """Return a mask of the rows whose data needs the exact check. msgspec has already checked that it is JSON."""
    starts, ends = bounds[:-1], bounds[1:]
    unsure = np.zeros(len(starts), np.bool_)
    present = np.flatnonzero(ends > starts)
    first = np.frombuffer(text, np.uint8)[starts[present]]
    unsure[present[(first != ord("{")) & (first != ord("n"))]] = True
    for row in np.flatnonzero(ends - starts > 2 * MAX_NESTING).tolist():
        start, end = bounds[row], bounds[row + 1]
        unsure[row] |= text.count(b"{", start, end) + text.count(b"[", start, end) > MAX_NESTING
    suspects = {*_rows_with_huge_numbers(text, bounds), *_rows_with_broken_utf8(text, bounds)}
    unsure[[row for row in suspects if not _is_readable(text[bounds[row] : bounds[row + 1]])]] = True
    return unsure


def _rows_with_huge_numbers(text: bytes, bounds: Numbers) -> Iterator[int]:
    """Yield the rows that may contain a number too large for a double.

    No match extends over two rows, because the data of a row ends with a brace.
    """
    shapes = text.translate(_DIGITS_TO_ZERO)
    ends = bounds[1:].tolist()
    for shape in _HUGE_SHAPES:
        index = shapes.find(shape)
        while index >= 0:
            row = bisect_right(ends, index)
            yield row
            index = shapes.find(shape, ends[row])


def _rows_with_broken_utf8(text: bytes, bounds: Numbers) -> list[int]:
    """Return the rows that may contain invalid UTF-8."""
    try:
        _to_column(text, bounds).validate(full=True)
    except pa.ArrowInvalid:
        return [row for row, (start, end) in enumerate(pairwise(bounds.tolist())) if not text[start:end].isascii()]
    return []


def _is_readable(data: bytes) -> bool:
    """Return whether orjson, which `decode_event` uses, parses the data."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
