"""The answers that the server itself gives, before any route is called: status, code, and the bytes that are sent.

Owns: the reasons why connections are refused or ended. The metric `meterport_http_connections_ended_total` counts them,
and the logger reports them: each reason at most once a minute, because clients can cause these as often as they like.
Source: RFC 9110 §15.5, RFC 6585 §5, RFC 9112 §7.1.1; docs/contract.md "Connections".
"""

import logging
from http import HTTPStatus
from typing import Literal, NamedTuple

from api.http.problems import RETRY_SECONDS, problem
from engine.ids import new_ulid
from engine.logging_setup import OncePerMinute
from engine.metrics import CONNECTIONS_ENDED

logger = logging.getLogger(__name__)
logger.addFilter(OncePerMinute())

Reason = Literal[
    "malformed",
    "head-too-large",
    "too-many-fields",
    "url-too-long",
    "no-request",
    "slow-head",
    "slow-body",
    "body-overhead",
    "too-many-pipelined",
    "too-many-connections",
    "made-room",
    "answer-not-read",
]


class Refusal(NamedTuple):
    """An answer of the server itself, after which the connection is closed."""

    reason: Reason
    status: int
    code: str
    detail: str


MALFORMED = Refusal("malformed", 400, "malformed-request", "the request is not HTTP/1.1 as RFC 9112 defines it")
BODY_OVERHEAD = Refusal(
    "body-overhead", 400, "malformed-request", "the extensions of a chunk, or the trailers, are too long"
)
SLOW_HEAD = Refusal("slow-head", 408, "request-timeout", "the head of the request did not arrive in time")
SLOW_BODY = Refusal("slow-body", 408, "request-timeout", "the body of the request did not arrive in time")
TOO_MANY_PIPELINED = Refusal(
    "too-many-pipelined", 503, "too-many-connections", "too many requests of this connection wait for their answers"
)
TOO_MANY_CONNECTIONS = Refusal(
    "too-many-connections", 503, "too-many-connections", "too many connections are open, try again"
)


def url_too_long(limit: int) -> Refusal:
    return Refusal("url-too-long", 414, "uri-too-long", f"the URL is longer than {limit} bytes")


def head_too_large(limit: int) -> Refusal:
    detail = f"the request line and the header fields are longer than {limit} bytes"
    return Refusal("head-too-large", 431, "head-too-large", detail)


def too_many_fields(limit: int) -> Refusal:
    return Refusal("too-many-fields", 431, "head-too-large", f"the request has more than {limit} header fields")


def count_end(reason: Reason) -> None:
    """Count a connection that is refused or ended because of its client, and log it, at most once a minute."""
    CONNECTIONS_ENDED.labels(reason).inc()
    logger.warning("connection_ended reason=%s", reason)


def response_bytes(refusal: Refusal, default_headers: list[tuple[bytes, bytes]], body: bool = True) -> bytes:
    """Return the bytes of an answer. Args: body: whether the request's method allows a body in the answer."""
    headers = {"Connection": "close", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    scope = {"state": {"request_id": new_ulid()}}
    response = problem(scope, refusal.status, refusal.code, refusal.detail, headers=headers)
    lines = [b"HTTP/1.1 %d %s" % (refusal.status, HTTPStatus(refusal.status).phrase.encode())]
    lines += [name + b": " + value for name, value in (*default_headers, *response.raw_headers)]
    return b"\r\n".join([*lines, b"", bytes(response.body) if body else b""])
