"""Subjects: display names and metadata of those who use; usage never needs one.

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
    """Create or change subjects; only the members present change, null clears."""
    body = await read_json(request, dependencies.settings.server.body_limit_bytes)
    return _shown(await in_thread(request, lambda: dependencies.subjects.upsert(body)))


async def list_subjects(dependencies: Dependencies, request: Request) -> Response:
    """List subjects, as many as a page holds."""
    query = Parameters(request)
    most = dependencies.settings.query.max_values
    limit, after = query.integer("limit", most, 1, most), query.text("after")
    found = await in_thread(request, lambda: dependencies.subjects.list(limit + 1, after))
    page = found[:limit]
    more = len(found) > limit
    return _shown(page, link_to_next(request, {"limit": str(limit), "after": page[-1].place}) if more else None)


async def get_subject(dependencies: Dependencies, request: Request) -> Response:
    """Show a subject by id or key; an id goes before a key."""
    wanted = str(request.path_params["subject"])
    return json_response(_json(await in_thread(request, lambda: dependencies.subjects.find(wanted))))


async def delete_subject(dependencies: Dependencies, request: Request) -> Response:
    """Delete a subject: 204; its events stay, its key is free again."""
    wanted = str(request.path_params["subject"])
    await in_thread(request, lambda: dependencies.subjects.delete(wanted))
    return no_content()


def _shown(subjects: Iterable[Subject], headers: Mapping[str, str] | None = None) -> Response:
    return json_response([_json(subject) for subject in subjects], headers=headers)


def _json(subject: Subject) -> dict[str, object]:
    return without_none(subject.body)
