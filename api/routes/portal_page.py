"""The customer's usage page and its files, as built from api/portal_page and held in memory.

    GET /portal          the page; the token is in the fragment of its URL, which browsers do not send
    GET /portal/{file}   its script and style, and meterport-usage.js, the custom element for other sites

Owns: the headers that protect the page: which scripts run in it, which sites may frame it, what it sends to other
sites, and how long browsers cache its files. No answer depends on the client, and no request reads the file system.
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

_BUILT_FILES = files("api") / "portal_page" / "built"
_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}
_PAGE = "index.html"
_CACHE_FOREVER = "public, max-age=31536000, immutable"  # for file names that contain a hash of the content
_CACHE_BRIEFLY = "public, max-age=300"  # for other file names, which pages of other sites refer to
# All resources come from this server; there is no inline script or style, and nothing is sent to other sites. The
# directive frame-ancestors comes from a setting.
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
    gzipped: bytes
    media_type: str
    etag: str


async def get_portal_page(dependencies: Dependencies, request: Request) -> Response:
    """Return the page."""
    return _answer(request, _PAGE, _page_headers(dependencies.settings.portal.frame_ancestors))


async def get_portal_file(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001 - all handlers have both parameters
    """Return a file of the page. Pages of any origin may load it, because the files contain no customer data."""
    name = str(request.path_params["file"])
    if name not in _built() or name == _PAGE:
        raise HTTPException(404)
    hashed = name.startswith("page-")
    headers = {
        "Cache-Control": _CACHE_FOREVER if hashed else _CACHE_BRIEFLY,
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
    return headers if ancestors else {**headers, "X-Frame-Options": "DENY"}  # This header cannot list origins.


def _answer(request: Request, name: str, headers: Mapping[str, str]) -> Response:
    file = _built()[name]
    gzipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
    etag = f'"{file.etag}{"-gz" if gzipped else ""}"'
    shared = {**headers, "ETag": etag, "Vary": "Accept-Encoding"}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=shared)
    if gzipped:
        shared["Content-Encoding"] = "gzip"
    return Response(file.gzipped if gzipped else file.body, headers={**shared, "Content-Type": file.media_type})


def _accepts_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding header accepts gzip: `gzip`, or else `*`, has a weight above 0."""
    weights = {}
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        weights[coding.strip()] = weight.replace(" ", "")
    weight = weights.get("gzip", weights.get("*", "q=0"))
    return re.fullmatch(r"q=0(\.0*)?", weight) is None


@cache
def _built() -> Mapping[str, _File]:
    """Read and compress every built file, once per process: about 700 kB, 200 kB compressed."""
    return {entry.name: _load(entry.name, entry.read_bytes()) for entry in _BUILT_FILES.iterdir() if "." in entry.name}


def _load(name: str, body: bytes) -> _File:
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    return _File(body, gzip.compress(body, 9, mtime=0), media_type, hashlib.sha256(body).hexdigest()[:32])
