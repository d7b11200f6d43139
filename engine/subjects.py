"""The registry of subjects: display names and metadata for the subjects of events.

Owns: the rules of a subject's key, and the registry table of subjects. Usage does not need an entry here: for the
meters a subject exists as soon as an event names it.
Limits: thread-safe. If two processes create the same key at the same time, the older row is the subject.
Source: docs/contract.md 3.4.
"""

import dataclasses
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from engine.errors import Conflict, InvalidRequest, NotFound
from engine.events.cloudevents import MAX_ATTRIBUTE_BYTES
from engine.ids import new_ulid
from engine.instants import EPOCH, Clock, Instant, milliseconds, of_milliseconds, parse_instant, utc_now
from engine.names import correct_case
from engine.store import sql
from engine.store.clickhouse import Store
from engine.texts import CONTROL, PROBLEM

_COLUMNS = ("id", "version", "key", "definition", "created_at", "updated_at", "deleted_at")
_CURSOR = re.compile(r"([0-9]{1,15}),([0-9A-Z]{0,26})", re.ASCII)
# Well below the nesting limit of orjson, toward which the enclosing response counts too.
MAX_METADATA_LEVELS = 32


def key_problem(key: str) -> str | None:
    """Return why no event can have this subject; None if an event can."""
    if not key:
        return "must not be empty"
    if CONTROL.search(key):
        return PROBLEM
    if len(key.encode()) > MAX_ATTRIBUTE_BYTES:
        return f"is longer than {MAX_ATTRIBUTE_BYTES} bytes"
    return None


@dataclass(frozen=True, slots=True)
class Subject:
    """One version of a subject in the registry."""

    id: str
    version: int
    key: str
    created_at: datetime
    updated_at: datetime
    display_name: str | None = None
    metadata: Mapping[str, Any] | None = None
    stripe_customer_id: str | None = None
    current_period_start: datetime | None = None
    current_period_end: datetime | None = None

    @property
    def cursor(self) -> str:
        """The position in a listing as opaque text that a client sends back to get the next page."""
        return f"{milliseconds(self.created_at)},{self.id}"

    @property
    def body(self) -> dict[str, object]:
        """The subject with the API's member names and with instants as RFC 3339 text."""
        return {
            "id": self.id,
            "key": self.key,
            **self.definition,
            "createdAt": _timestamp(self.created_at),
            "updatedAt": _timestamp(self.updated_at),
        }

    @property
    def definition(self) -> dict[str, object]:
        """What a user has set for the subject besides its key, with the API's member names."""
        return {
            "displayName": self.display_name,
            "metadata": self.metadata,
            "stripeCustomerId": self.stripe_customer_id,
            "currentPeriodStart": _timestamp(self.current_period_start),
            "currentPeriodEnd": _timestamp(self.current_period_end),
        }


def _usable_key(key: str) -> str:
    problem = key_problem(key)
    if problem:
        raise ValueError(problem)
    return key


def _stripe_id(text: str) -> str:
    if not text.startswith("cus_"):
        raise ValueError("must start with cus_")
    return text


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("not an RFC 3339 timestamp with an offset")  # noqa: TRY004 - pydantic reports ValueErrors
    return parse_instant(value).datetime


_Instant = Annotated[datetime, BeforeValidator(_instant)]


class SubjectInput(BaseModel):
    """A subject in a request. A field that is left out is not changed, null clears it."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    key: Annotated[str, AfterValidator(_usable_key)]
    display_name: str | None = None
    metadata: dict[str, Any] | None = None
    stripe_customer_id: Annotated[str, AfterValidator(_stripe_id)] | None = None
    current_period_start: _Instant | None = None
    current_period_end: _Instant | None = None


_MEMBERS = frozenset(field.alias or name for name, field in SubjectInput.model_fields.items())  # the API's names
_CHANGEABLE = frozenset(SubjectInput.model_fields) - {"key"}
_inputs = TypeAdapter(list[SubjectInput])


def parse_subjects(body: object) -> list[SubjectInput]:
    """Return the subjects in a JSON body.

    Raises: InvalidRequest: one line for each fault, with the index of the subject, the field and the rule.
    """
    _refuse_other_case(body)
    try:
        subjects = _inputs.validate_python(body)
    except ValidationError as error:
        raise InvalidRequest("\n".join(map(_message, error.errors()))) from None
    too_deep = [index for index, given in enumerate(subjects) if _is_deeper(given.metadata, MAX_METADATA_LEVELS)]
    if too_deep:
        wrong = f"metadata: is more than {MAX_METADATA_LEVELS} levels deep"
        raise InvalidRequest("\n".join(f"subject {index}: {wrong}" for index in too_deep))
    with_controls = [index for index, given in enumerate(subjects) if CONTROL.search(given.display_name or "")]
    if with_controls:
        raise InvalidRequest("\n".join(f"subject {index}: displayName: {PROBLEM}" for index in with_controls))
    return subjects


def _is_deeper(value: object, levels: int) -> bool:
    """Return whether objects and lists of a JSON value are nested more than `levels` deep."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _refuse_other_case(body: object) -> None:
    """Refuse a member whose name differs from a known one only by case: it would be ignored. Raises: InvalidRequest."""
    for index, item in enumerate(body if isinstance(body, list) else []):
        for name in item if isinstance(item, dict) else ():
            if correct := correct_case(name, _MEMBERS):
                raise InvalidRequest(f'subject {index}: "{name}" is unknown, did you mean "{correct}"?')


def _message(problem: ErrorDetails) -> str:
    """Return `subject <index>: <field>: <what is wrong>`, without the parts that are unknown."""
    index, *field = problem["loc"] or ("",)
    where = [f"subject {index}" if problem["loc"] else "body", *([".".join(map(str, field))] if field else [])]
    wrong = "must be an object" if problem["type"] == "model_type" else problem["msg"].removeprefix("Value error, ")
    return ": ".join([*where, wrong])


class Subjects:
    """The subjects of one store. Each call queries the store, because subjects are few and rarely needed."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock
        self._write_lock = threading.Lock()

    def upsert(self, body: object) -> list[Subject]:
        """Create or change subjects by key, and return them in the order given. If one is wrong, none is changed.

        Args: body: a list of partial subjects, as in `SubjectInput`.
        Raises: InvalidRequest: one line for each fault, with the index of the subject, the field and the rule.
        """
        inputs = parse_subjects(body)
        if not inputs:
            return []
        now = self._clock()
        with self._write_lock:
            known = _by_key(_load(self._store, [given.key for given in inputs]))
            written = []
            for given in inputs:
                known[given.key] = _merged(known.get(given.key), given, now)
                written.append(known[given.key])
            self._write([_row(subject) for subject in written])
        return written

    def list(self, limit: int = 2**32, after: str | None = None) -> list[Subject]:
        """Return subjects, oldest first.

        Args: limit: the largest number of subjects. after: the `cursor` of the last subject of the previous page.
        Raises: InvalidRequest: `after` is not a cursor.
        """
        match = _CURSOR.fullmatch(after or "0,")
        if match is None:
            raise InvalidRequest("after is invalid")
        statement = sql.statement("subjects/page")
        rows = self._store.rows(statement, after_ms=int(match[1]), after_id=match[2], limit=limit)
        return [_subject(row) for row in rows]

    def find(self, id_or_key: str) -> Subject:
        """Return the subject with an id, or else the one with a key. Raises: NotFound."""
        found = [] if key_problem(id_or_key) else _load(self._store, [id_or_key, id_or_key.upper()])
        for subject in found:
            if subject.id == id_or_key.upper():
                return subject
        for subject in found:
            if subject.key == id_or_key:
                return subject
        raise NotFound(f"subject not found: {id_or_key}")

    def find_by_key(self, key: str) -> Subject | None:
        """Return the subject with a key; None if it is not in the registry. Ids are not searched."""
        return _by_key(_load(self._store, [key])).get(key)

    def delete(self, id_or_key: str) -> None:
        """Delete a subject from the registry. Its events and usage stay, and its key can be created again.

        Raises: NotFound. Conflict: the text is the id of one subject and the key of another.
        """
        now = self._clock()
        with self._write_lock:
            key = self.find(id_or_key).key
            if key != id_or_key and self.find_by_key(id_or_key) is not None:
                both = f"{id_or_key} is the id of one subject and the key of another"
                raise Conflict(f"{both}; use the key of the first, or the id of the other")
            deleted = [subject for subject in _load(self._store, [key]) if subject.key == key]
            self._write(
                [
                    _row(dataclasses.replace(subject, version=subject.version + 1, updated_at=now), deleted_at=now)
                    for subject in deleted
                ]
            )

    def names(self, keys: Sequence[str] = ()) -> dict[str, str | None]:
        """Return display names by key: those of the given keys, or of all subjects if no key is given."""
        return dict(self._store.rows(sql.statement("subjects/names"), keys=[*keys]))

    def _write(self, rows: Sequence[Sequence[object]]) -> None:
        self._store.insert_rows("subjects", _COLUMNS, rows)


def _load(store: Store, names: Sequence[str]) -> list[Subject]:
    """Return the subjects that are not deleted and have a key or an id in `names`, oldest first."""
    return [_subject(row) for row in store.rows(sql.statement("subjects/live"), names=[*names])]


def _by_key(subjects: Sequence[Subject]) -> dict[str, Subject]:
    """Return the first subject with each key."""
    found: dict[str, Subject] = {}
    for subject in subjects:
        found.setdefault(subject.key, subject)
    return found


def _merged(current: Subject | None, given: SubjectInput, now: datetime) -> Subject:
    changes: dict[str, Any] = {name: getattr(given, name) for name in given.model_fields_set & _CHANGEABLE}
    if current is None:
        return Subject(id=new_ulid(), version=1, key=given.key, created_at=now, updated_at=now, **changes)
    return dataclasses.replace(current, version=current.version + 1, updated_at=now, **changes)


def _row(subject: Subject, deleted_at: datetime | None = None) -> list[object]:
    return [
        subject.id,
        subject.version,
        subject.key,
        orjson.dumps(subject.definition).decode(),
        subject.created_at,
        subject.updated_at,
        deleted_at,
    ]


def _subject(row: tuple[Any, ...]) -> Subject:
    id_, version, key, definition, created_ms, updated_ms = row
    given = SubjectInput.model_validate({"key": key, **orjson.loads(definition)})
    return Subject(
        id=id_,
        version=version,
        key=key,
        created_at=of_milliseconds(created_ms),
        updated_at=of_milliseconds(updated_ms),
        **{name: getattr(given, name) for name in _CHANGEABLE},
    )


def _timestamp(instant: datetime | None) -> str | None:
    return None if instant is None else Instant((instant - EPOCH) // timedelta(microseconds=1) * 1000).text
