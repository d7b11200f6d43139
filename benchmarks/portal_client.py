"""A client of the portal in a process of its own, so that it does not share Python's lock with the server.

The parent sends a path and gets the seconds that the request took, and the answer if it asks for it.
"""

import http.client
import multiprocessing
import time
from multiprocessing.connection import Connection


class PortalClient:
    """Sends requests from another process over one connection. A context manager."""

    def __init__(self, port: int) -> None:
        self._ours, theirs = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_answer, args=(theirs, port), daemon=True)

    def __enter__(self) -> "PortalClient":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.send(None)
        self._process.join()

    def get(self, path: str, token: str) -> tuple[float, int, bytes]:
        """Send a GET request. Return the seconds that it took, the status and the body."""
        self._ours.send((path, token))
        seconds, status, body = self._ours.recv()
        return float(seconds), int(status), bytes(body)


def _answer(pipe: Connection, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while (request := pipe.recv()) is not None:
        path, token = request
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = response.read()
        pipe.send((time.perf_counter() - began, response.status, body))
