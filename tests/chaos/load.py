"""The events that the chaos suite sends: numbered, the same for a seed, with the attributes that a fold needs.

Owns: the choice of times, subjects and values, and the JSON of an event. Times are in a few minutes of every third hour
over four days around a clock change, so that a minute has many events. Once in 50,000 events a burst covers 200 months.
No two events have the same time: ties of LATEST, which the positions in the log decide, are tested elsewhere
(tests/test_usage.py).
Limits: 7 million events per load. It is written for speed: a million events take a few seconds.
"""

import random
import time
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from tests.harness import oracle

SOURCE = "chaos"
SUBJECTS = 24
MODELS = 5
KINDS = ("in", "out")
ODD = ("1", "2.5", '"0.1"', "-3", "null", '"abc"', "1e3")  # as JSON
ODD_TENTHS = (10, 25, 1, -30, None, None, 10_000)
_MONTHS = 200
_BURST_EVERY = 50_000
FIRST_BURST = 25_000  # inserting so many months takes minutes of processor time, so small loads have no burst
_FIRST_HOUR_MS = 1_761_955_200_000  # 2025-11-01T00:00Z; a day later the clocks change in New York
_MINUTES = [hour * 60 + minute for hour in range(0, 96, 3) for minute in (0, 15, 29, 59)]
_SLOTS = len(_MINUTES) * 60_000
_STRIDE = 7_368_787  # coprime with _SLOTS, so the first 7.68 million numbers use each slot once


class LoadEvent(NamedTuple):
    """An event as it is sent. `tenths`: its value in tenths, None if it has no value."""

    id: str
    subject: str
    body: bytes
    at_ms: int
    model: int
    kind: int
    tenths: int | None

    def for_oracle(self) -> oracle.Event:
        """Return the event in the oracle's type. Its data is the exact text of the sent event."""
        text = self.body.decode()
        at, data = text.index('"time":"') + 8, text.index('"data":') + 7
        return oracle.Event(self.id, SOURCE, "call", self.subject, text[at : text.index('"', at)], text[data:-1])


class Numbers:
    """The attributes of the events of a load, as columns of numbers, which a fold reads when it is queried."""

    def __init__(self) -> None:
        self.at_ms = array("q")
        self.subject = array("B")
        self.model = array("B")
        self.kind = array("B")
        self.odd = array("b")  # the index in ODD; -1: the value is an integer
        self.integer = array("q")

    def __len__(self) -> int:
        return len(self.at_ms)

    def tenths(self, index: int) -> int | None:
        odd = self.odd[index]
        return self.integer[index] * 10 if odd < 0 else ODD_TENTHS[odd]


def events(seed: int, numbers: Numbers, first: int = 0) -> Iterator[LoadEvent]:
    """Yield events without end, beginning with number `first`, and add each to `numbers`."""
    bits = random.Random(seed).getrandbits  # noqa: S311 - reproducible, not secret
    minutes = [_minute_text(_FIRST_HOUR_MS + minute * 60_000) for minute in _MINUTES]
    number = first
    while True:
        bits64 = bits(64)
        subject, model, kind, odd = bits64 % SUBJECTS, (bits64 >> 8) % MODELS, bits64 >> 16 & 1, (bits64 >> 20) % 8 - 1
        slot = number * _STRIDE % _SLOTS
        minute, ms = divmod(slot, 60_000)
        month = (number - FIRST_BURST) % _BURST_EVERY
        if month < _MONTHS:
            at_ms = _month_ms(month) + slot
            at = f"{_minute_text(at_ms)}{at_ms % 60_000 // 1000:02d}.{at_ms % 1000:03d}Z"
        else:
            at_ms = _FIRST_HOUR_MS + _MINUTES[minute] * 60_000 + ms
            at = f"{minutes[minute]}{ms // 1000:02d}.{ms % 1000:03d}Z"
        integer = bits64 % 10**18 if odd < 0 else 0
        value = ODD[odd] if odd >= 0 else str(integer)
        numbers.at_ms.append(at_ms)
        numbers.subject.append(subject)
        numbers.model.append(model)
        numbers.kind.append(kind)
        numbers.odd.append(odd)
        numbers.integer.append(integer)
        body = (
            f'{{"specversion":"1.0","id":"{seed}-{number}","source":"{SOURCE}","type":"call","subject":"u{subject}",'
            f'"time":"{at}","data":{{"tokens":{value},"model":"m{model}","kind":"{KINDS[kind]}"}}}}'
        )
        tenths = ODD_TENTHS[odd] if odd >= 0 else integer * 10
        yield LoadEvent(f"{seed}-{number}", f"u{subject}", body.encode(), at_ms, model, kind, tenths)
        number += 1


def _minute_text(at_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(at_ms // 1000))


def _month_ms(month: int) -> int:
    """Return the first instant of the month that is `month` months after January 1990."""
    day = time.strptime(f"{1990 + month // 12}-{month % 12 + 1:02d}-01 UTC", "%Y-%m-%d %Z")
    return round((time.mktime(day) - time.timezone) * 1000)
