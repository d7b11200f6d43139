"""Subjects: their display names and metadata. Usage is metered even if a subject was never created here.

Source: docs/contract.md "Events and subjects".
"""

from collections.abc import Iterable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.bodies import read_json
from api.http.paging import link_to_next
from api.http.parameters import Parameters
from api.http.responses import json_response, no_content, without_none
from engine.subjects import Subject


async def upsert_subjects(dependencies: Dependencies, request: Request) -> Response:
    """Create or update subjects. Only the members that are present are changed; null clears a member."""
    body = await read_json(request, dependencies.settings.server.body_limit_bytes)
    return _list_response(await in_thread(request, lambda: dependencies.subjects.upsert(body)))


async def list_subjects(dependencies: Dependencies, request: Request) -> Response:
    """List one page of subjects; it has a link to the next page if there are more."""
    query = Parameters(request)
    most = dependencies.settings.query.max_values
    limit, after = query.integer("limit", most, 1, most), query.text("after")
    found = await in_thread(request, lambda: dependencies.subjects.list(limit + 1, after))
    page = found[:limit]
    more = len(found) > limit
    return _list_response(
        page, link_to_next(request, {"limit": str(limit), "after": page[-1].cursor}) if more else None
    )


async def get_subject(dependencies: Dependencies, request: Request) -> Response:
    """Return a subject by id or key; an id takes precedence over a key."""
    id_or_key = str(request.path_params["subject"])
    return json_response(_json(await in_thread(request, lambda: dependencies.subjects.find(id_or_key))))


async def delete_subject(dependencies: Dependencies, request: Request) -> Response:
    """Delete a subject; answer 204. Its events stay, and its key can be used again."""
    id_or_key = str(request.path_params["subject"])
    await in_thread(request, lambda: dependencies.subjects.delete(id_or_key))
    return no_content()


def _list_response(subjects: Iterable[Subject], headers: Mapping[str, str] | None = None) -> Response:
    return json_response([_json(subject) for subject in subjects], headers=headers)


def _json(subject: Subject) -> dict[str, object]:
    return without_none(subject.body)
