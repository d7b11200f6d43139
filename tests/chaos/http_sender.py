"""A client of `meterport api` that sends each batch of events until it is accepted.

Owns: `HttpSender`, and the check that a refusal is 503 with Retry-After.
"""

import threading

import httpx

from tests.chaos.cluster import Cluster

_BATCH = 50
_BATCH_TYPE = "application/cloudevents-batch+json"


class HttpSender:
    """Sends the next events of the load over HTTP, from its own thread."""

    def __init__(self, run: Cluster) -> None:
        self.accepted = 0  # batches
        self.refused = 0
        self._run = run
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._send_all, name="http-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait until the last batch is accepted, then stop."""
        self._stop.set()
        self._thread.join(180)
        assert not self._thread.is_alive(), "the last batch was not accepted within three minutes"
        if self._error:
            raise self._error

    def _send_all(self) -> None:
        try:
            while not self._stop.is_set():
                body = b"[" + b",".join(event.body for event in self._run.writer.take(_BATCH)) + b"]"
                while not self._accepted(body):
                    pass
        except BaseException as error:
            self._error = error

    def _accepted(self, body: bytes) -> bool:
        try:
            answer = httpx.post(
                f"{self._run.api()}/api/v1/events", content=body, headers={"content-type": _BATCH_TYPE}, timeout=30
            )
        except httpx.TransportError:
            return False
        if answer.status_code == 204:
            self.accepted += 1
            return True
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) > 0
        self.refused += 1
        return False
