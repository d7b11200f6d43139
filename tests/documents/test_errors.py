"""The documents name exactly the error codes that exist, with their status or as an exit."""

from collections.abc import Iterator

import anyio
from starlette.requests import Request

from api.http.problems import from_meterport_error
from engine import errors
from meterport import cli
from tests.documents.pages import CONTRACT, OPERATIONS, ROOT, plain, rows

HTTP_ONLY = {
    "internal-error": 500,
    "not-ready": 503,
    "method-not-allowed": 405,
    "malformed-request": 400,
    "request-timeout": 408,
    "uri-too-long": 414,
    "head-too-large": 431,
    "too-many-connections": 503,
}  # answered without an error from the tree


def test_every_error_code_stands_with_its_status_or_as_an_exit() -> None:
    answered = {plain(row[0]): int(row[1]) for row in rows(CONTRACT, "code", "status", "detail begins", "what to do")}
    exits = {plain(row[1]): int(row[0]) for row in rows(OPERATIONS, "status", "code", "means", "do") if row[1] != "–"}
    leaves = list(_leaves(errors.MeterportError))

    assert answered == HTTP_ONLY | {leaf.code: _status(leaf) for leaf in leaves if not issubclass(leaf, errors.Fatal)}
    assert exits == {
        leaf.code: cli.EX_CONFIG if leaf is errors.ConfigurationError else cli.EX_SOFTWARE
        for leaf in leaves
        if issubclass(leaf, errors.Fatal)
    }


def _leaves(error: type[errors.MeterportError]) -> Iterator[type[errors.MeterportError]]:
    """Yield the leaves of the tree that engine/errors.py draws. Subclasses elsewhere have the code of their parent."""
    below = [child for child in error.__subclasses__() if child.__module__ == errors.__name__]
    if not below:
        yield error
    for child in below:
        yield from _leaves(child)


def _status(error: type[errors.MeterportError]) -> int:
    request = Request({"type": "http", "headers": [], "state": {"request_id": "1"}})
    return anyio.run(from_meterport_error, request, error("wrong")).status_code


def test_codes_the_api_gives_by_itself_are_given_by_it() -> None:
    written = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "api").rglob("*.py")))

    missing = {code for code in HTTP_ONLY if f'"{code}"' not in written}
    assert missing == {"method-not-allowed"}  # its code is the phrase of the HTTP status
