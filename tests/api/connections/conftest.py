"""The tests of connections share an application that answers at once, late, with much, or when a test opens a gate."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.harness.raw_http import port_of, serving

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = 32 << 20


class Gate:
    """Holds the requests to /held until a test opens it."""

    def __init__(self) -> None:
        self.held = 0
        self.open = threading.Event()

    async def hold(self, request: Request) -> Response:
        self.held += 1
        while not self.open.is_set():
            await asyncio.sleep(0.01)
        return PlainTextResponse(request.url.query)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def app(gate: Gate) -> Starlette:
    async def home(_: Request) -> Response:
        return PlainTextResponse("home")

    async def echo(request: Request) -> Response:
        body = await request.body()
        return JSONResponse({"fields": request.headers.keys(), "body": body.decode()})

    async def late(request: Request) -> Response:
        await asyncio.sleep(4)
        return PlainTextResponse(str(len(await request.body())))

    async def unread(_: Request) -> Response:
        return Response(status_code=404)

    async def unread_and_closed(_: Request) -> Response:
        return Response(b"no", status_code=413, headers={"Connection": "close"})

    async def large(_: Request) -> Response:
        return Response(bytes(LARGE))

    routes = [
        Route("/", home),
        Route("/echo", echo, methods=["POST"]),
        Route("/late", late, methods=["POST"]),
        Route("/unread", unread, methods=["POST"]),
        Route("/closed", unread_and_closed, methods=["POST"]),
        Route("/large", large),
        Route("/held", gate.hold),
    ]
    return Starlette(routes=routes)


@pytest.fixture
def port(app: Starlette) -> Iterator[int]:
    with serving(app) as server:
        yield port_of(server)
