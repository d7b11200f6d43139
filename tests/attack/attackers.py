"""Clients that attack one server, in a separate process, so that they do not slow down the clients that measure.

Owns: the forms of attack, each with its limit, and the count of how each connection or request ended. The arguments of
the process are URL, token, slug, seconds and idle connections. At the end it prints the counts as JSON. Loopback only.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

OPEN_HEADS = 100
SLOW_BODIES = 50
LONG_HEADS = 4
DEAF_READERS = 10
WRONG_KEYS_A_SECOND = 200
CONCURRENT_QUERIES = 6
_PAUSE_SECONDS = 0.2  # before a connection that has ended is opened again
_QUERIES = (
    "/api/v1/portal/meters/{slug}/query?groupBy=rid",
    "/api/v1/portal/meters/{slug}/query?groupBy=rid&windowSize=MINUTE",
    "/api/v1/portal/meters/{slug}/group-by/rid/values",
)


@dataclass
class Attack:
    """An attack on one server until a time. `endings`: form of attack → ending → count."""

    host: str
    port: int
    token: str
    slug: str
    until: float
    endings: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def note(self, form: str, ending: str) -> None:
        """Count how one connection or request of a form ended."""
        self.endings.setdefault(form, Counter())[ending] += 1

    def head(self, method: str, path: str, *fields: str) -> bytes:
        return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", *fields, "", "")).encode()


async def _status(reader: asyncio.StreamReader) -> str:
    """Read one whole answer. Return its status, or `closed` if there is none."""
    line = await reader.readline()
    if not line:
        return "closed"
    length, chunked = 0, False
    while (header := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = header.decode("latin-1").partition(":")
        length = int(value) if name.lower() == "content-length" else length
        chunked = chunked or name.lower() == "transfer-encoding"
    if chunked:
        while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(length)
    return line.split()[1].decode()


Step = Callable[[Attack, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[str]]


async def _repeat(attack: Attack, form: str, step: Step) -> None:
    """Open a connection, do a step with it, and count how it ended; repeat this until the attack is over."""
    while not attack.over:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(attack.host, attack.port), 10)
        except (OSError, TimeoutError):
            attack.note(form, "not connected")
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        try:
            ending = await asyncio.wait_for(step(attack, reader, writer), max(attack.until - time.monotonic(), 0.1))
        except TimeoutError:
            ending = "still open"
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
            ending = "cut off"
        finally:
            writer.close()
        attack.note(form, ending)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _until_answered(
    attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunk: bytes, pause: float
) -> str:
    """Send the same bytes after each pause, until the server answers or closes the connection."""
    answer = asyncio.ensure_future(_status(reader))
    try:
        while not answer.done() and not attack.over:
            writer.write(chunk)
            await writer.drain()
            await asyncio.wait({answer}, timeout=pause)
        return await answer
    finally:
        answer.cancel()


async def open_head(attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Send one header field every second, and never the end of the head."""
    writer.write(attack.head("GET", "/livez")[:-2])
    return await _until_answered(attack, reader, writer, b"X-A: b\r\n", 1)


async def long_head(attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Send header fields as fast as the server reads them, and never the end of the head."""
    writer.write(attack.head("GET", "/livez")[:-2])
    return await _until_answered(attack, reader, writer, b"a: b\r\n" * 1000, 0.01)


async def slow_body(attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Send one byte of the body of a query every second."""
    path = f"/api/v1/portal/meters/{attack.slug}/query"
    authorization = f"Authorization: Bearer {attack.token}"
    writer.write(attack.head("POST", path, authorization, "Content-Type: application/json", "Content-Length: 200000"))
    return await _until_answered(attack, reader, writer, b" ", 1)


async def idle(_attack: Attack, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> str:
    """Send nothing at all."""
    return await _status(reader)


async def deaf_reader(attack: Attack, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Request a large answer, and do not read it."""
    writer.transport.pause_reading()  # type: ignore[attr-defined] # the transport of the stream is that of a socket
    path = _QUERIES[0].format(slug=attack.slug)
    writer.write(attack.head("GET", path, f"Authorization: Bearer {attack.token}"))
    await writer.drain()
    await asyncio.sleep(attack.until - time.monotonic())
    return "still open"


async def wrong_keys(attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Send requests with a wrong key on one connection, at a fixed rate."""
    request = attack.head("GET", "/api/v1/meters", "Authorization: Bearer not-the-key-of-this-server")
    while True:
        writer.write(request)
        status = await _status(reader)
        if status == "closed":
            return status
        attack.note("wrong keys, each", status)
        await asyncio.sleep(4 / WRONG_KEYS_A_SECOND)


def _query_step(path: str) -> Step:
    async def query(attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Repeat the most expensive query of a valid token."""
        request = attack.head("GET", path.format(slug=attack.slug), f"Authorization: Bearer {attack.token}")
        while True:
            writer.write(request)
            status = await _status(reader)
            if status == "closed":
                return status
            attack.note("queries, each", status)
            await asyncio.sleep(0 if status == "200" else _PAUSE_SECONDS)

    return query


async def attack_all(attack: Attack, idle_connections: int) -> None:
    """Run all forms of attack at the same time until the time is over."""
    forms: list[tuple[str, int, Step]] = [
        ("open heads", OPEN_HEADS, open_head),
        ("long heads", LONG_HEADS, long_head),
        ("slow bodies", SLOW_BODIES, slow_body),
        ("idle connections", idle_connections, idle),
        ("deaf readers", DEAF_READERS, deaf_reader),
        ("wrong keys", 4, wrong_keys),
        *[("queries", CONCURRENT_QUERIES // len(_QUERIES), _query_step(path)) for path in _QUERIES],
    ]
    await asyncio.gather(*(_repeat(attack, name, step) for name, count, step in forms for _ in range(count)))


def main() -> None:
    """Run the attack. The arguments are URL, token, slug, seconds, idle connections. Print the endings as JSON."""
    url, token, slug, seconds, idle_connections = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    address = urlsplit(url)
    attack = Attack(str(address.hostname), address.port or 80, token, slug, time.monotonic() + float(seconds))
    asyncio.run(attack_all(attack, int(idle_connections)))
    sys.stdout.write(json.dumps(attack.endings))


if __name__ == "__main__":
    main()
