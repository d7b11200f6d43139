"""The customer's usage page and the files it is made of, as built from api/portal_page and held in memory.

    GET /portal          the page; a token comes in the fragment of its address, which no browser sends
    GET /portal/{file}   its script and style, and meterport-usage.js, the custom element for other sites

Owns: the headers that keep the page what it is: which scripts run in it, who may frame it, what it tells others, how
long browsers keep its files. Nothing here depends on who asks, and no request reaches the file system.
Source: docs/portal.md; Content Security Policy Level 3; docs/contract.md "Portal".
"""

import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies

_BUILT = files("api") / "portal_page" / "built"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}
_PAGE = "index.html"
_FOR_EVER = "public, max-age=31536000, immutable"  # names that carry a hash of their content
_BRIEFLY = "public, max-age=300"  # names that do not: another site's page names them
# Everything from here, no inline script or style, nothing sent elsewhere. The frame-ancestors come from a setting.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes
    kind: str
    etag: str


async def get_portal_page(dependencies: Dependencies, request: Request) -> Response:
    """Return the page."""
    return _answer(request, _PAGE, _page_headers(dependencies.settings.portal.frame_ancestors))


async def get_portal_file(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001 - every handler takes both
    """Return a file of the page, to any site: none holds anything of anybody."""
    name = str(request.path_params["file"])
    if name not in _built() or name == _PAGE:
        raise HTTPException(404)
    hashed = name.startswith("page-")
    headers = {
        "Cache-Control": _FOR_EVER if hashed else _BRIEFLY,
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    return _answer(request, name, headers)


def _page_headers(ancestors: Sequence[str]) -> dict[str, str]:
    policy = {**_POLICY, "frame-ancestors": " ".join(ancestors) or "'none'"}
    headers = {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return headers if ancestors else {**headers, "X-Frame-Options": "DENY"}  # which knows no list of origins


def _answer(request: Request, name: str, headers: Mapping[str, str]) -> Response:
    file = _built()[name]
    packed = _takes_gzip(request.headers.get("accept-encoding", ""))
    etag = f'"{file.etag}{"-gz" if packed else ""}"'
    shared = {**headers, "ETag": etag, "Vary": "Accept-Encoding"}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=shared)
    if packed:
        shared["Content-Encoding"] = "gzip"
    return Response(file.packed if packed else file.body, headers={**shared, "Content-Type": file.kind})


def _takes_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding takes gzip: by its name, else by `*`, with a weight above 0."""
    weights = {}
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        weights[coding.strip()] = weight.replace(" ", "")
    weight = weights.get("gzip", weights.get("*", "q=0"))
    return re.fullmatch(r"q=0(\.0*)?", weight) is None


@cache
def _built() -> Mapping[str, _File]:
    """Read and pack every built file, once: about 700 kB, 200 kB packed."""
    return {entry.name: _read(entry.name, entry.read_bytes()) for entry in _BUILT.iterdir() if "." in entry.name}


def _read(name: str, body: bytes) -> _File:
    kind = _TYPES[name.rpartition(".")[2]]
    return _File(body, gzip.compress(body, 9, mtime=0), kind, hashlib.sha256(body).hexdigest()[:32])
