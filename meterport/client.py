"""A client of the API for the command line. It uses the same routes, API key and problems as any other client.

    ClientError             one line for the user of the command line
    ├── Unreachable         no server answers at the address
    └── Refusal             the server answered with a problem; its status and members are kept

Owns: how a problem becomes one line, and which requests are repeated: while a server is busy (503), for as long as it
says so; while a server does not answer, for a minute.
"""

import math
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import getproxies

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from engine.config.redaction import without_userinfo
from engine.errors import InvalidEvent, TooLarge
from engine.events.media_types import BATCH
from engine.events.outcome import EventName, Outcome
from engine.instants import Instant, parse_instant
from meterport.client_errors import ClientError, Refusal, Unreachable

_OUTAGE_SECONDS = 60
_QUIET_UNREACHABLE_SECONDS = 2  # The user is told that a server does not answer after this long.
_QUIET_BUSY_SECONDS = 10  # The user is told that a server is busy after this long; short waits are normal under load.
_TIMEOUT = httpx.Timeout(120, connect=5)


class ApiClient:
    """A client of one server.

    Args: key: the API key, or None. hint: text to append to the error when no server answers. proxied: whether
        HTTP_PROXY and similar variables apply. on_pause: called with one line that says why a request has been waiting
        for some seconds.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        hint: str = "",
        proxied: bool = False,
        on_pause: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.url = without_userinfo(url.rstrip("/"))  # for messages
        self._hint = hint
        self._on_pause = on_pause
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Loading the certificates of this machine takes 15 ms, and an address without TLS needs none of them.
        plain = url.startswith("http:") and not (proxied and getproxies())
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True
        try:
            self._http = httpx.Client(
                base_url=url.rstrip("/"),
                headers=headers,
                timeout=_TIMEOUT,
                trust_env=proxied,
                follow_redirects=False,
                verify=verify,
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ClientError(f"{without_userinfo(url)}: {without_userinfo(str(error))}") from None

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    # Meters and usage

    def list_meters(self) -> list[dict[str, Any]]:
        """Return every meter, by slug."""
        return list(self.request("GET", "/api/v1/meters").json())

    def create_meter(self, definition: Mapping[str, object]) -> dict[str, Any]:
        """Create a meter; return it as it is stored."""
        return dict(self.request("POST", "/api/v1/meters", json=definition).json())

    def delete_meter(self, slug: str) -> None:
        """Delete a meter and its usage; its events stay."""
        self.request("DELETE", f"/api/v1/meters/{quote(slug, safe='')}")

    def query(self, slug: str, query: Mapping[str, object], accept: str = "application/json") -> httpx.Response:
        """Query usage; `query` is the body of `POST /api/v1/meters/{slug}/query`."""
        path = f"/api/v1/meters/{quote(slug, safe='')}/query"
        return self.request("POST", path, json=query, headers={"Accept": accept})

    # Portal tokens

    def create_token(self, body: Mapping[str, object]) -> dict[str, Any]:
        """Create a portal token. Only this answer contains the token itself."""
        return dict(self.request("POST", "/api/v1/portal/tokens", json=body).json())

    def list_tokens(self, subject: str | None, limit: int) -> list[dict[str, Any]]:
        """Return tokens, newest first, without the tokens themselves."""
        parameters = {"limit": str(limit)} | ({"subject": subject} if subject is not None else {})
        return list(self.request("GET", "/api/v1/portal/tokens", params=parameters).json())

    def invalidate_tokens(self, body: Mapping[str, object]) -> None:
        """Invalidate a token by `id`, all tokens of a `subject`, or all that were issued before `issuedBefore`."""
        self.request("POST", "/api/v1/portal/tokens/invalidate", json=body)

    # Events

    def send_events(self, events: Sequence[bytes]) -> dict[int, str]:
        """Send events to the server, which makes all of them durable or none. Wait while the server is busy.

        Returns: why each refused event was refused, by index; empty if all events are durable.
        Raises: TooLarge: they are too long for one request. InvalidEvent: the batch was refused because of an event,
            but the answer does not say which one. Refusal, Unreachable.
        """
        body = b"[" + b",".join(events) + b"]"
        try:
            self._retry_while_busy(
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
        """Return the timestamp of the newest stored batch, in Unix milliseconds; None if there is none."""
        newest = self._outcomes({"events": []}).get("newestStoredAt")
        return None if newest is None else _unix_ms(newest)

    def outcomes(self, names: Sequence[EventName], explain_after_ms: int) -> list[Outcome]:
        """Return the outcome of each event, in their order. Those stored after `explain_after_ms` are explained.

        Args: explain_after_ms: Unix milliseconds.
        """
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
        return dict(self._retry_while_busy(lambda: self.request("POST", "/api/v1/events/outcomes", json=body)).json())

    # Dead letters

    def list_dead_letters(self, limit: int, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return at most `limit` dead letters, newest first; `filters` are parameters of `GET /api/v1/dead-letters`."""
        found: list[dict[str, Any]] = []
        page = min(limit, 100)
        answer = self.request("GET", "/api/v1/dead-letters", params={**filters, "limit": str(page)})
        found += answer.json()
        while "next" in answer.links and len(found) < limit:
            answer = self.request("GET", _path_of(answer.links["next"]["url"]))
            found += answer.json()
        return found[:limit]

    def replay_dead_letters(self, body: Mapping[str, object]) -> dict[str, Any]:
        """Replay dead letters; `body` is that of `POST /api/v1/dead-letters/replay`. Wait while the server is busy."""
        return dict(
            self._retry_while_busy(lambda: self.request("POST", "/api/v1/dead-letters/replay", json=body)).json()
        )

    # Waiting

    def wait_until_stored(self, on_wait: Callable[[int], None] = lambda _: None) -> None:
        """Wait until all events that were accepted before this call are stored, whatever other clients send meanwhile.

        Args: on_wait: called with the number of records that are still to be stored.
        Raises: Refusal: the server cannot store anything; it says why.
        """
        waiting = self._ingest_counts().waiting
        start = self._ingest_counts()  # Read after `waiting`: what was stored before must not be subtracted.
        left = waiting if start.waiting else 0
        while left > 0:
            on_wait(left)
            self._pause_and_check_ready()
            now = self._ingest_counts()
            if now.done < start.done:  # The server was restarted and counts from 0.
                waiting, start = now.waiting, now
            left = min(now.waiting, waiting - (now.done - start.done))

    def _ingest_counts(self) -> "_IngestCounts":
        metrics = self._metrics()
        while math.isnan(_value(metrics, "meterport_log_records")):  # It has just started and has no partitions yet.
            self._pause_and_check_ready()
            metrics = self._metrics()
        names = ("events_stored", "events_duplicate", "dead_letters")
        done = sum(_value(metrics, f"meterport_{name}_total") for name in names)
        return _IngestCounts(waiting=int(_value(metrics, "meterport_log_records")), done=int(done))

    def _metrics(self) -> dict[str, float]:
        """Return the server's metrics without labels, by name."""
        from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - few commands need it

        text = self._retry_while_busy(lambda: self.request("GET", "/metrics")).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {sample.name: sample.value for sample in samples if not sample.labels}

    def _pause_and_check_ready(self) -> None:
        """Sleep for a moment, then check readiness. Raises: Refusal: the server cannot store anything; it says why."""
        time.sleep(0.05)
        self._retry_while_busy(lambda: self.request("GET", "/readyz"))

    # Requests

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request. Raises: Refusal: the answer is not a success. Unreachable."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"no answer from {self.url}: {reason}{self._hint}") from None
        if not response.is_success:
            raise Refusal(response)
        return response

    def _retry_while_busy(self, attempt: Callable[[], httpx.Response]) -> httpx.Response:
        """Send a request, and repeat it while the server is busy, or for a minute while the server does not answer.

        The request must be safe to repeat.
        """
        reported = False

        def report_once(state: RetryCallState) -> None:
            nonlocal reported
            error = _error(state)
            unreachable = isinstance(error, Unreachable)
            waited = (state.seconds_since_start or 0) + state.upcoming_sleep
            if not reported and waited >= (_QUIET_UNREACHABLE_SECONDS if unreachable else _QUIET_BUSY_SECONDS):
                reported = True
                self._on_pause(
                    f"{error}; trying again for a minute" if unreachable else f"waiting for {self.url}: {error}"
                )

        retry = retry_if_exception(_is_transient)
        return Retrying(retry=retry, wait=_retry_delay, stop=_outage_too_long, before_sleep=report_once, reraise=True)(
            attempt
        )


class _IngestCounts(NamedTuple):
    """`waiting`: records in the event log that are not stored yet. `done`: those handled since the server started."""

    waiting: int
    done: int


def _path_of(link: str) -> str:
    """Return the path and query of a link, so that the API key is never sent to another server that a link names."""
    parts = urlsplit(link)
    return urlunsplit(("", "", f"/{parts.path.lstrip('/')}", parts.query, ""))


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, Unreachable) or (
        isinstance(error, Refusal) and error.status == 503 and error.members.get("code") != "not-ready"
    )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _retry_delay(state: RetryCallState) -> float:
    error = _error(state)
    if isinstance(error, Refusal) and error.retry_seconds is not None:
        return error.retry_seconds
    return float(wait_exponential(multiplier=0.1, max=5)(state))


def _outage_too_long(state: RetryCallState) -> bool:
    return isinstance(_error(state), Unreachable) and (state.seconds_since_start or 0) > _OUTAGE_SECONDS


@lru_cache(maxsize=1024)  # All events of a batch have the same timestamp.
def _unix_ms(text: str) -> int:
    return parse_instant(text).nanos // 1_000_000


def _value(metrics: Mapping[str, float], name: str) -> float:
    if name not in metrics:
        raise ClientError(f"/metrics has no metric {name}")
    return metrics[name]
