"""A client of this API, for the command line: the same routes, key and problems as anyone's.

    ClientError             one line for whoever typed the command
    ├── Unreachable         nothing answers at the address
    └── Refusal             a problem the server answered; `status` and its members are kept

Owns: how a problem becomes one line, and what is waited out: a busy engine (503) for as long as it says so, an engine
that does not answer in the middle of an import for a minute.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from engine.config.redaction import without_userinfo
from engine.errors import InvalidEvent, MeterportError, TooLarge
from engine.events.media_types import BATCH
from engine.events.outcome import EventName, Outcome
from engine.instants import Instant, parse_instant

_OUTAGE_SECONDS = 60
_LONGEST_WAIT_SECONDS = 30
_SILENT_SECONDS = 2  # of an engine that does not answer, before the user is told
_SILENT_BUSY_SECONDS = 10  # of one that is busy, as it is now and then when much is sent
_TIMEOUT = httpx.Timeout(120, connect=5)


class ClientError(MeterportError):
    """A request of the command line came to nothing."""


class Unreachable(ClientError):
    """Nothing answers at the address."""


class Refusal(ClientError):
    """The server answered with a problem."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.members = _members(response)
        self._url = response.request.url
        self.retry_seconds = _retry_seconds(response)
        super().__init__(self._line())

    def _line(self) -> str:
        text = str(self.members.get("detail") or self.members.get("title") or f"status {self.status}")
        if self.status == 404 and "detail" not in self.members:
            return f"{text}: {self._url}"  # no such route: another server, or a path too many
        if self.status == 401:
            return f"{text}; the key comes from the setting api_key (METERPORT_API_KEY)"
        return f"{text} ({self.members['instance']})" if self.status >= 500 and "instance" in self.members else text

    @property
    def refused_events(self) -> dict[int, str]:
        """Why events of a batch were refused, by index; empty if it was for another reason."""
        errors = self.members.get("extensions", {}).get("validationErrors", [])
        return {int(error["index"]): str(error["message"]) for error in errors}


class ApiClient:
    """Calls one server.

    Args: key: the management key, or None. hint: what to add when nothing answers. proxied: whether HTTP_PROXY and
    its like apply. on_pause: told, in one line, why a request has been waiting for some seconds.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        hint: str = "",
        proxied: bool = False,
        on_pause: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.url = without_userinfo(url.rstrip("/"))  # as it is shown
        self._hint = hint
        self._on_pause = on_pause
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(
                base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT, trust_env=proxied, follow_redirects=False
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ClientError(f"{without_userinfo(url)}: {without_userinfo(str(error))}") from None

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    # meters and usage

    def meters(self) -> list[dict[str, Any]]:
        """Return every meter, by slug."""
        return list(self.request("GET", "/api/v1/meters").json())

    def create_meter(self, definition: Mapping[str, object]) -> dict[str, Any]:
        """Create a meter; returns it as stored."""
        return dict(self.request("POST", "/api/v1/meters", json=definition).json())

    def delete_meter(self, slug: str) -> None:
        """Delete a meter and its usage; its events stay."""
        self.request("DELETE", f"/api/v1/meters/{quote(slug, safe='')}")

    def query(self, slug: str, query: Mapping[str, object], accept: str = "application/json") -> httpx.Response:
        """Ask for usage; `query` is the body of `POST /api/v1/meters/{slug}/query`."""
        path = f"/api/v1/meters/{quote(slug, safe='')}/query"
        return self.request("POST", path, json=query, headers={"Accept": accept})

    # portal tokens

    def create_token(self, body: Mapping[str, object]) -> dict[str, Any]:
        """Make a portal token; the answer is the only sight of it."""
        return dict(self.request("POST", "/api/v1/portal/tokens", json=body).json())

    def tokens(self, subject: str | None, limit: int) -> list[dict[str, Any]]:
        """Return tokens, newest first, without their text."""
        parameters = {"limit": str(limit)} | ({"subject": subject} if subject is not None else {})
        return list(self.request("GET", "/api/v1/portal/tokens", params=parameters).json())

    def invalidate_tokens(self, body: Mapping[str, object]) -> None:
        """Invalidate a token by `id`, all of a `subject`, or all that were `issuedBefore` an instant."""
        self.request("POST", "/api/v1/portal/tokens/invalidate", json=body)

    # events

    def send_events(self, events: Sequence[bytes]) -> dict[int, str]:
        """Make events durable, all or none of them; a busy engine is waited out.

        Returns: why each refused event is refused, by index; empty: all are durable.
        Raises: TooLarge: they are too long for one request. InvalidEvent: the batch is refused as a whole, for one of
            its events. Refusal, Unreachable.
        """
        body = b"[" + b",".join(events) + b"]"
        try:
            self._patiently(
                lambda: self.request("POST", "/api/v1/events", content=body, headers={"Content-Type": BATCH})
            )
        except Refusal as refusal:
            if refusal.status == 413:
                raise TooLarge(str(refusal)) from None
            if refusal.status != 400 or refusal.members.get("code") != InvalidEvent.code:
                raise
            if not refusal.refused_events:
                raise InvalidEvent(str(refusal).removeprefix("invalid event: ")) from None
            return refusal.refused_events
        return {}

    def newest_stamp(self) -> int | None:
        """Return when the newest batch of events was stamped, in Unix milliseconds; None if there is none."""
        newest = self._outcomes({"events": []}).get("newestStoredAt")
        return None if newest is None else _unix_ms(newest)

    def outcomes(self, names: Sequence[EventName], explain_after_ms: int) -> list[Outcome]:
        """Return what became of each event, in their order; those stored after `explain_after_ms` are explained."""
        events = [name._asdict() for name in names]
        try:
            answer = self._outcomes({"events": events, "explainAfter": Instant(explain_after_ms * 1_000_000).text})
        except Refusal as refusal:
            if refusal.status != 413 or len(names) < 2:
                raise
            half = len(names) // 2
            return [*self.outcomes(names[:half], explain_after_ms), *self.outcomes(names[half:], explain_after_ms)]
        return [
            Outcome(_unix_ms(event["storedAt"]) if event["stored"] else None, event.get("validationError"))
            for event in answer["events"]
        ]

    def _outcomes(self, body: Mapping[str, object]) -> dict[str, Any]:
        return dict(self._patiently(lambda: self.request("POST", "/api/v1/events/outcomes", json=body)).json())

    # dead letters

    def dead_letters(self, limit: int, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return dead letters, newest first; `filters` are parameters of `GET /api/v1/dead-letters`."""
        found: list[dict[str, Any]] = []
        page = min(limit, 100)
        answer = self.request("GET", "/api/v1/dead-letters", params={**filters, "limit": str(page)})
        found += answer.json()
        while "next" in answer.links and len(found) < limit:
            answer = self.request("GET", _within(answer.links["next"]["url"]))
            found += answer.json()
        return found[:limit]

    def replay_dead_letters(self, body: Mapping[str, object]) -> dict[str, Any]:
        """Replay dead letters; `body` is that of `POST /api/v1/dead-letters/replay`. A busy engine is waited out."""
        return dict(self._patiently(lambda: self.request("POST", "/api/v1/dead-letters/replay", json=body)).json())

    # waiting

    def wait_until_stored(self, on_wait: Callable[[int], None] = lambda _: None) -> None:
        """Return once everything accepted so far is usage, whatever others send meanwhile.

        Args: on_wait: told how many records are still to be stored.
        Raises: Refusal: the server is not able to store anything, and says why.
        """
        waiting = self._ingest().waiting
        start = self._ingest()  # read after `waiting`: what is stored from here on counts down what waited there
        left = waiting if start.waiting else 0
        while left > 0:
            on_wait(left)
            self._look_on()
            now = self._ingest()
            if now.done < start.done:  # the server was started again, and counts from 0
                waiting, start = now.waiting, now
            left = min(now.waiting, waiting - (now.done - start.done))

    def _ingest(self) -> "_Ingest":
        text = self._metrics()
        while math.isnan(_metric(text, "meterport_log_records")):  # just started, it has no share of the log yet
            self._look_on()
            text = self._metrics()
        names = ("events_stored", "events_duplicate", "dead_letters")
        done = sum(_metric(text, f"meterport_{name}_total") for name in names)
        return _Ingest(waiting=int(_metric(text, "meterport_log_records")), done=int(done))

    def _metrics(self) -> str:
        return self._patiently(lambda: self.request("GET", "/metrics")).text

    def _look_on(self) -> None:
        """Let some time pass. Raises: Refusal: the server is not able to store anything, and says why."""
        time.sleep(0.05)
        self._patiently(lambda: self.request("GET", "/readyz"))

    # requests

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request. Raises: Refusal: the answer is a problem. Unreachable."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"no answer from {self.url}: {reason}{self._hint}") from None
        if not response.is_success:
            raise Refusal(response)
        return response

    def _patiently(self, attempt: Callable[[], httpx.Response]) -> httpx.Response:
        """Repeat a request that is safe to repeat while the engine is busy, or gone for less than a minute."""
        said = False

        def say_once(state: RetryCallState) -> None:
            nonlocal said
            error = _error(state)
            gone = isinstance(error, Unreachable)
            waited = (state.seconds_since_start or 0) + state.upcoming_sleep
            if not said and waited >= (_SILENT_SECONDS if gone else _SILENT_BUSY_SECONDS):
                said = True
                self._on_pause(f"{error}; trying again for a minute" if gone else f"waiting for {self.url}: {error}")

        retry = retry_if_exception(_passing)
        return Retrying(retry=retry, wait=_pause, stop=_gone, before_sleep=say_once, reraise=True)(attempt)


class _Ingest(NamedTuple):
    """Records in the log that are not usage yet, and how many this server has made usage (or dropped) since it runs."""

    waiting: int
    done: int


def _within(link: str) -> str:
    """Return the path and query of a link: the key goes to the server that was named, whatever its answers name."""
    parts = urlsplit(link)
    return urlunsplit(("", "", f"/{parts.path.lstrip('/')}", parts.query, ""))


def _passing(error: BaseException) -> bool:
    return isinstance(error, Unreachable) or (
        isinstance(error, Refusal) and error.status == 503 and error.members.get("code") != "not-ready"
    )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _pause(state: RetryCallState) -> float:
    error = _error(state)
    if isinstance(error, Refusal) and error.retry_seconds is not None:
        return error.retry_seconds
    return float(wait_exponential(multiplier=0.1, max=5)(state))


def _gone(state: RetryCallState) -> bool:
    return isinstance(_error(state), Unreachable) and (state.seconds_since_start or 0) > _OUTAGE_SECONDS


def _members(response: httpx.Response) -> dict[str, Any]:
    try:
        members = response.json()
    except ValueError:
        members = None
    if isinstance(members, dict):
        return members
    url = without_userinfo(str(response.request.url))
    return {"detail": f"{url} answers {response.status_code} {response.reason_phrase}"}


def _retry_seconds(response: httpx.Response) -> float | None:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_WAIT_SECONDS) if re.fullmatch(r"[0-9]{1,6}", seconds) else None


@lru_cache(maxsize=1024)  # the events of a batch have one stamp
def _unix_ms(text: str) -> int:
    return parse_instant(text).nanos // 1_000_000


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    if not found:
        raise ClientError(f"/metrics shows no {name}")
    return float(found[1])
