"""Pages of listings that are plain arrays: a `Link` header names the next page.

Source: docs/contract.md D.22; RFC 8288 (Link).
"""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request

from api.http.problems import redact_tokens
from engine.listings.log_position import LogPosition


def next_page(request: Request, end: LogPosition, limit: int) -> dict[str, str]:
    """Return the header that names the page after a full one. Args: end: the position of the last item of the page."""
    return link_to_next(request, {"limit": str(limit), "before": end.cursor})


def link_to_next(request: Request, changes: Mapping[str, str]) -> dict[str, str]:
    """Return the header that names the next page: the same request, with the parameters in `changes` replaced."""
    given = request.query_params.multi_items()
    kept = [(name, redact_tokens(text)) for name, text in given if name not in changes]
    return {"Link": f'<{request.url.path}?{urlencode([*kept, *changes.items()])}>; rel="next"'}
