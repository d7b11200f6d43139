"""Request bodies that are compressed, in another charset or with a byte order mark: decoded, or refused with a reason.

Contract 3.1, D.29; case N8. Source: RFC 9110, 8.4 and 15.5.16; RFC 8259, 8.1.
"""

import dataclasses
import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pyarrow as pa
import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import given, settings
from hypothesis import strategies as st

from api.app import create_app
from api.dependencies import Dependencies
from api.http.encodings import unpack
from api.http.openapi import document
from api.http.problems import InvalidParameter
from engine.config.server_settings import ServerSettings
from engine.errors import TooLarge
from tests.api.conftest import BATCH, KEY, SINGLE, MemoryLog, event
from tests.harness.api_client import ApiClient

URL = "/api/v1/events"
EVENTS = [event(f"e{number}", "customer-1", "2025-01-01T00:00:00Z", {"tokens": number}) for number in range(100)]
BODY = orjson.dumps(EVENTS)
GZIPPED = gzip.compress(BODY)
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
Token = Callable[..., dict[str, str]]


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def post(client: ApiClient, body: bytes, encoding: str | None, kind: str = BATCH) -> Any:
    headers = {"Content-Type": kind} | ({} if encoding is None else {"Content-Encoding": encoding})
    return client.post(URL, content=body, headers=headers)


TAKEN = {
    "gzip": ("gzip", GZIPPED),
    "gzip in capitals": ("GZIP", GZIPPED),
    "its older name": ("x-gzip", GZIPPED),
    "two members": ("gzip", gzip.compress(BODY[:500]) + gzip.compress(BODY[500:])),
    "an empty member between": ("gzip", gzip.compress(BODY[:9]) + gzip.compress(b"") + gzip.compress(BODY[9:])),
    "not compressed within gzip": ("gzip", gzip.compress(BODY, 0)),
    "zstd": ("zstd", zstd(BODY)),
    "two frames": ("zstd", zstd(BODY[:500]) + zstd(BODY[500:])),
    "a frame to be skipped": ("zstd", SKIPPABLE + zstd(BODY)),
    "identity": ("identity", BODY),
    "an empty header": ("", BODY),
    "identity and gzip": ("identity, gzip", GZIPPED),
}


@pytest.mark.parametrize(("encoding", "body"), TAKEN.values(), ids=TAKEN)
def test_a_compressed_body_is_unpacked(client: ApiClient, log: MemoryLog, encoding: str, body: bytes) -> None:
    assert post(client, body, encoding).status_code == 204

    assert [orjson.loads(value) for value in log.values] == EVENTS


def test_data_in_a_compressed_body_is_kept_byte_for_byte(client: ApiClient, log: MemoryLog) -> None:
    """D.12."""
    text = orjson.dumps(EVENTS[0])[:-1].replace(b'{"tokens":0}', b'{ "z": 1,"a":12345678901234567890123 }') + b"}"

    assert post(client, gzip.compress(text), "gzip", SINGLE).status_code == 204

    assert log.values == [text]


@pytest.mark.parametrize(
    "encoding", ["br", "deflate", "compress", "snappy", "gzip, gzip", "gzip, zstd", "gzip;q=1", "*"]
)
@pytest.mark.parametrize("body", [BODY, GZIPPED], ids=["plain", "gzip"])
def test_another_content_encoding_is_415_with_those_that_are_taken(
    still: ApiClient, still_log: MemoryLog, encoding: str, body: bytes
) -> None:
    answer = post(still, body, encoding)

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-encoding")
    assert answer.headers["accept-encoding"] == "gzip, zstd"
    assert answer.json()["detail"] == (
        f"content encoding {encoding!r} is not supported, send one of: gzip, zstd, or none"
    )
    assert still_log.values == []


CUT_OFF, BROKEN, ANOTHER = "data is cut off", "data is broken, or something else follows it", "but it is not"
FLIPPED = GZIPPED[:-6] + b"\0" + GZIPPED[-5:]
REFUSED = {
    "gzip without its last byte": ("gzip", GZIPPED[:-1], CUT_OFF),
    "gzip without its sums": ("gzip", GZIPPED[:-8], CUT_OFF),
    "half of gzip": ("gzip", GZIPPED[: len(GZIPPED) // 2], CUT_OFF),
    "one byte of gzip": ("gzip", b"\x1f", CUT_OFF),
    "the second member cut off": ("gzip", (GZIPPED * 2)[:-1], CUT_OFF),
    "no gzip at all": ("gzip", b"", CUT_OFF),
    "gzip with a wrong sum": ("gzip", FLIPPED, BROKEN),
    "something behind gzip": ("gzip", GZIPPED + b"garbage", BROKEN),
    "zeros behind gzip": ("gzip", GZIPPED + bytes(8), BROKEN),
    "plain JSON said to be gzip": ("gzip", BODY, ANOTHER),
    "zlib said to be gzip": ("gzip", zlib.compress(BODY), ANOTHER),
    "zstd said to be gzip": ("gzip", zstd(BODY), ANOTHER),
    "zstd without its last byte": ("zstd", zstd(BODY)[:-1], CUT_OFF),
    "one byte of zstd": ("zstd", b"\x28", CUT_OFF),
    "no zstd at all": ("zstd", b"", CUT_OFF),
    "something behind zstd": ("zstd", zstd(BODY) + b"garbage", BROKEN),
    "a zstd window of 2 GiB": ("zstd", b"\x28\xb5\x2f\xfd\0\xa8" + zstd(BODY)[6:], BROKEN),
    "plain JSON said to be zstd": ("zstd", BODY, ANOTHER),
    "gzip said to be zstd": ("zstd", GZIPPED, ANOTHER),
}


@pytest.mark.parametrize(("encoding", "body", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_body_that_is_not_encoded_as_it_says_is_refused_by_name(
    still: ApiClient, still_log: MemoryLog, encoding: str, body: bytes, reason: str
) -> None:
    answer = post(still, body, encoding)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert answer.json()["detail"].startswith("invalid request body: ")
    assert reason in answer.json()["detail"]
    assert encoding in answer.json()["detail"]
    assert still_log.values == []


@pytest.fixture
def small(portal: BlockingPortal, dependencies: Dependencies) -> ApiClient:
    """A client of a server that accepts bodies of 2,000 bytes."""
    limited = dependencies.settings.model_copy(update={"server": ServerSettings(body_limit_bytes=2000)})
    app = create_app(dataclasses.replace(dependencies, settings=limited))
    return ApiClient(portal, app, {"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_the_limit_is_one_of_the_unpacked_body(
    small: ApiClient, log: MemoryLog, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """D.12."""
    assert post(small, pack(b"[" + b" " * 1998 + b"]"), encoding).status_code == 204
    answer = post(small, pack(b"[" + b" " * 1999 + b"]"), encoding)

    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert answer.json()["detail"] == "the unpacked body is longer than 2000 bytes"
    assert log.values == []


BOMBS = {
    "gzip": ("gzip", gzip.compress(bytes(100 << 20))),
    "many members": ("gzip", gzip.compress(bytes(1 << 20)) * 100),
    "zstd": ("zstd", zstd(bytes(100 << 20))),
    "many frames": ("zstd", zstd(bytes(1 << 20)) * 100),
}


@pytest.mark.parametrize(("encoding", "bomb"), BOMBS.values(), ids=BOMBS)
def test_no_more_is_unpacked_than_may_be(encoding: str, bomb: bytes) -> None:
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpack(encoding, bomb, 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 << 20


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_wherever_a_body_is_cut_off_it_is_refused(encoding: str) -> None:
    packed = GZIPPED if encoding == "gzip" else zstd(BODY)

    for length in range(len(packed)):
        with pytest.raises(InvalidParameter, match="cut off"):
            unpack(encoding, packed[:length], 1 << 20)


_PACKED = [
    ("gzip", GZIPPED),
    ("gzip", gzip.compress(b"{}") * 3),
    ("zstd", zstd(BODY)),
    ("zstd", zstd(b"{}") * 3),
]


@settings(max_examples=500, deadline=None)
@given(packed=st.sampled_from(_PACKED), at=st.integers(0, 5000), width=st.integers(0, 9), junk=st.binary(max_size=9))
def test_whatever_is_wrong_with_a_compressed_body_it_is_refused(
    packed: tuple[str, bytes], at: int, width: int, junk: bytes
) -> None:
    encoding, body = packed
    at %= len(body)
    try:
        unpack(encoding, body[:at] + junk + body[at + width :], 1 << 20)
    except (InvalidParameter, TooLarge) as error:
        assert encoding in str(error) or isinstance(error, TooLarge)


def with_bodies() -> Iterator[tuple[str, str]]:
    """Return each method and path that has a body."""
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            if "requestBody" in operation:
                yield method.upper(), path.replace("{", "").replace("}", "")


@pytest.mark.parametrize(("method", "path"), list(with_bodies()))
def test_every_route_that_takes_a_body_takes_it_compressed(
    still: ApiClient, stranger: ApiClient, still_token: Token, method: str, path: str
) -> None:
    """`{}` creates nothing on any route, but each route answers it with its own message."""
    portal = path.startswith("/api/v1/portal/meters")
    client, credentials = (stranger, still_token("customer-1")) if portal else (still, {})

    def ask(body: bytes, **headers: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.request(
            method, path, content=body, headers={"Content-Type": "application/json", **credentials, **named}
        )
        return answer.status_code, answer.json()["detail"]

    plain = ask(b"{}")

    assert plain[0] in {400, 404}
    assert ask(gzip.compress(b"{}"), content_encoding="gzip") == plain
    assert ask(zstd(b"{}"), content_encoding="zstd") == plain
    assert ask(b"{}", content_encoding="br")[0] == 415
    assert ask(b"{}", content_encoding="gzip") == (
        400,
        "invalid request body: its content encoding says gzip, but it is not",
    )


# --- what is no UTF-8, or not JSON alone ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "charset", ["utf-8", "UTF-8", '"utf-8"', "utf8", "us-ascii", "iso-8859-1", "ISO-8859-15", "windows-1252"]
)
def test_a_charset_that_ascii_is_in_does_no_harm(client: ApiClient, charset: str) -> None:
    assert post(client, orjson.dumps(EVENTS[0]), None, f"{SINGLE}; charset={charset}").status_code == 204


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("utf-16", orjson.dumps(EVENTS[0]).decode().encode("utf-16")),
        ("UTF-16LE", orjson.dumps(EVENTS[0]).decode().encode("utf-16-le")),
        ("utf-32", orjson.dumps(EVENTS[0]).decode().encode("utf-32")),
        ('"utf-16"', orjson.dumps(EVENTS[0])),
        ("iso-8859-1", orjson.dumps({**EVENTS[0], "subject": "Zoë"})),
        ("shift_jis", orjson.dumps(EVENTS[0])),
    ],
)
def test_a_body_in_another_charset_is_refused_by_its_name(
    still: ApiClient, still_log: MemoryLog, charset: str, body: bytes
) -> None:
    for kind, path in ((SINGLE, URL), ("application/json", "/api/v1/meters")):
        sent = f"{kind}; x=y; Charset={charset}"
        answer = still.post(path, content=body, headers={"Content-Type": sent})

        assert answer.status_code == 400
        assert answer.json()["detail"] == f"invalid content type: {sent}: the body must be UTF-8"
    assert still_log.values == []


MARKED, UTF_16 = "it begins with a byte order mark, send UTF-8 without it", "it is UTF-16, send UTF-8"
FOREIGN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a byte order mark": (lambda body: b"\xef\xbb\xbf" + body, MARKED),
    "UTF-16": (lambda body: body.decode().encode("utf-16"), UTF_16),
    "UTF-16, the other way round": (lambda body: b"\xfe\xff" + body.decode().encode("utf-16-be"), UTF_16),
    "UTF-16 without a mark": (lambda body: body.decode().encode("utf-16-le"), UTF_16),
    "UTF-16 without a mark, the other way round": (lambda body: body.decode().encode("utf-16-be"), UTF_16),
    "gzip": (gzip.compress, "it is compressed with gzip, only a request with Content-Encoding: gzip is unpacked"),
    "zstd": (zstd, "it is compressed with zstd, only a request with Content-Encoding: zstd is unpacked"),
    "lz4": (lambda body: b"\x04\x22\x4d\x18" + body, "it is compressed with lz4, send the JSON text alone"),
    "a schema registry's prefix": (
        lambda body: b"\0\0\0\0\x2a" + body,
        "it begins with the prefix of a schema registry (byte 0 and schema id 42), send the JSON text alone",
    ),
}


@pytest.mark.parametrize("kind", [SINGLE, BATCH, "application/json", "binary mode", "meters"])
@pytest.mark.parametrize(("change", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_a_body_that_is_no_plain_json_is_refused_by_what_it_is(
    still: ApiClient, still_log: MemoryLog, change: Callable[[bytes], bytes], reason: str, kind: str
) -> None:
    """N8, N5: before, the message only said at which byte the parser had stopped."""
    path = "/api/v1/meters" if kind == "meters" else URL
    headers = {"Content-Type": kind if kind in {SINGLE, BATCH} else "application/json"}
    if kind == "binary mode":
        headers |= {f"ce-{name}": "1.0" for name in ("id", "source", "type", "subject", "specversion")}

    answer = still.post(path, content=change(BODY if kind == BATCH else orjson.dumps(EVENTS[0])), headers=headers)

    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(f": {reason}")
    assert still_log.values == []


@pytest.mark.parametrize("kind", [SINGLE, "application/json"])
def test_several_events_one_after_the_other_are_told_to_be_sent_as_an_array(still: ApiClient, kind: str) -> None:
    """N8: before, this form (one event per line) was reported as broken data."""
    answer = post(still, b"\n".join(orjson.dumps(item) for item in EVENTS), None, kind)

    assert answer.status_code == 400
    assert "more follows the first value, send several events as one array" in answer.json()["detail"]
