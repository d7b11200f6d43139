"""The load of the cluster: events and queries over HTTP, through the Service, while the cluster changes.

Owns: `Load`, which sends the events of the chaos suite at a rate, and asks for usage several times a second. Each
request that failed is counted. Events are then sent again, with the same ids, until they are accepted: so everything
that was generated is delivered, and how many requests failed is a second result.
Events and queries use connections that stay open, as those of real clients do; further requests open a new one each.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import httpx

from tests.chaos.fold import Fold
from tests.chaos.load import Numbers, events

BATCH = 100
_BATCH_TYPE = {"content-type": "application/cloudevents-batch+json"}
_PAUSE_SECONDS = 0.2
_KNOCK_SECONDS = 0.02
_KNOCKERS = 2
_TIMEOUT_SECONDS = 30
_END_SECONDS = 180


class Load:
    """Sends `rate` events a second to `url`, and asks for a meter, from `start` until `finish`."""

    def __init__(self, url: str, headers: dict[str, str], slug: str, rate: int) -> None:
        self.numbers = Numbers()
        self.fold = Fold(self.numbers)
        self.failures: list[str] = []
        self.requests = 0
        self._counting = threading.Lock()
        self._url = url
        self._headers = headers
        self._query = f"/api/v1/meters/{slug}/query"
        self._rate = rate
        self._events = events(1, self.numbers)
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._began = 0.0
        works = (self._send_all, self._ask_all, *[self._knock_all] * _KNOCKERS)
        self._threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in works]

    def start(self) -> None:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Wait until the last batch is accepted, then stop."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_END_SECONDS)
            assert not thread.is_alive(), f"the last request was not answered: {self.failures[-1:]}"
        self.check()

    def check(self) -> None:
        """Raises: what ended a thread: an answer that no retry changes."""
        if self._errors:
            raise self._errors[0]

    def failures_so_far(self) -> str:
        """Return how many requests have failed, for a line of the report: events are then sent again."""
        failed = len(self.failures)
        return f"{failed} of {self.requests:,} requests have failed so far; events were sent again until accepted"

    @contextmanager
    def planned(self, what: str) -> Iterator[None]:
        """Raises: AssertionError: a request failed in this context, or within a moment after it."""
        before = len(self.failures)
        yield
        self._stop.wait(1)
        self.check()
        failed = self.failures[before:]
        assert not failed, f"{what}: {len(failed)} requests failed: {failed[:5]}"

    def _run(self, work: Callable[[httpx.Client], None]) -> None:
        try:
            with httpx.Client(base_url=self._url, headers=self._headers, timeout=_TIMEOUT_SECONDS) as client:
                work(client)
        except BaseException as error:
            self._errors.append(error)

    def _send_all(self, client: httpx.Client) -> None:
        sent = 0
        while not self._stop.is_set():
            ahead = sent / self._rate - (time.monotonic() - self._began)
            if ahead > 0:
                time.sleep(ahead)
            body = b"[" + b",".join(event.body for event in islice(self._events, BATCH)) + b"]"
            request = client.build_request("POST", "/api/v1/events", content=body, headers=_BATCH_TYPE)
            while not self._answered(client, request):
                time.sleep(_PAUSE_SECONDS)
            sent += BATCH

    def _ask_all(self, client: httpx.Client) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            self._answered(client, client.build_request("GET", self._query, params={"windowSize": "DAY"}))

    def _knock_all(self, client: httpx.Client) -> None:
        """Ask with a new connection each time: only such a request meets a pod that has just closed its ports."""
        while not self._stop.wait(_KNOCK_SECONDS):
            self._answered(client, client.build_request("GET", "/api/v1/meters", headers={"connection": "close"}))

    def _answered(self, client: httpx.Client, request: httpx.Request) -> bool:
        """Return whether a request succeeded. Otherwise it is one of the failures."""
        with self._counting:
            self.requests += 1
        at = time.monotonic() - self._began
        try:
            answer = client.send(request)
        except httpx.TransportError as error:
            self.failures.append(f"{at:.1f} s {request.method} {type(error).__name__} {error}")
            return False
        if answer.is_success:
            return True
        assert answer.status_code in {429, 502, 503}, answer.text
        self.failures.append(f"{at:.1f} s {request.method} {answer.status_code} {answer.text[:200]}")
        return False
