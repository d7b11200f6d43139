"""Contract 0, routes /portal and /portal/{file}: the integrity of the page, its caching, and who may frame it."""

import gzip

import pytest
from anyio.from_thread import BlockingPortal
from starlette.applications import Starlette

from api.app import create_app
from api.dependencies import Dependencies
from engine.config.loading import load_settings
from engine.config.settings import PortalSettings
from engine.errors import ConfigurationError
from tests.harness.api_client import ApiClient


def policy(headers: dict[str, str]) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_the_page_runs_its_own_script_only_and_nobody_frames_it(stranger: ApiClient) -> None:
    """Contract 0."""
    answer = stranger.get("/portal")

    assert answer.status_code == 200
    assert policy(dict(answer.headers)) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert "access-control-allow-origin" not in answer.headers


def test_a_setting_says_who_may_frame_it(portal: BlockingPortal, still_dependencies: Dependencies) -> None:
    ancestors = ["https://app.example.com", "https://*.example.org:8443"]
    settings = still_dependencies.settings.model_copy(update={"portal": PortalSettings(frame_ancestors=ancestors)})
    framed = create_app(
        Dependencies(
            **{name: getattr(still_dependencies, name) for name in Dependencies.__slots__ if name != "settings"},
            settings=settings,
        )
    )

    headers = ApiClient(portal, framed).get("/portal").headers

    assert policy(dict(headers))["frame-ancestors"] == "https://app.example.com https://*.example.org:8443"
    assert "x-frame-options" not in headers


@pytest.mark.parametrize(
    "origin",
    ["*", "app.example.com", "https://a.example; script-src *", "https://a.example https://b.example", "", "data:"],
)
def test_what_is_no_origin_is_refused_at_start(origin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"portal\.frame_ancestors"):
        load_settings(overrides={"portal": {"frame_ancestors": [origin]}})


def test_files_are_kept_for_ever_where_their_name_says_what_is_in_them(stranger: ApiClient) -> None:
    """Contract 0."""
    page = stranger.get("/portal").text
    script = page.partition('src="')[2].partition('"')[0]

    answer, element = stranger.get(f"/{script}"), stranger.get("/portal/meterport-usage.js")

    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert element.headers["cache-control"] == "public, max-age=300"
    assert element.headers["access-control-allow-origin"] == "*"
    assert element.headers["cross-origin-resource-policy"] == "cross-origin"


def test_files_are_packed_for_who_takes_it_and_not_sent_twice(stranger: ApiClient) -> None:
    plain = stranger.get("/portal/meterport-usage.js", headers={"Accept-Encoding": "identity"})
    packed = stranger.get("/portal/meterport-usage.js", headers={"Accept-Encoding": "gzip"})
    again = stranger.get(
        "/portal/meterport-usage.js", headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]}
    )

    assert plain.content == packed.content  # the client has decompressed it
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 9, mtime=0))
    assert packed.headers["etag"] != plain.headers["etag"]
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("gzip; q=0.000", False),
     ("*, gzip;q=0", False), ("br", False), ("*;q=0", False)],
)  # fmt: skip
def test_files_are_packed_only_for_who_takes_it(stranger: ApiClient, accepted: str, packed: bool) -> None:
    answer = stranger.get("/portal", headers={"Accept-Encoding": accepted})

    assert (answer.headers.get("content-encoding") == "gzip") is packed


def test_whoever_has_any_is_sent_none(stranger: ApiClient) -> None:
    assert stranger.get("/portal", headers={"If-None-Match": "*"}).status_code == 304


@pytest.mark.parametrize("name", ["nope.js", "index.html", "..%2Fbuild.mjs", "%2e%2e%2fpackage.json", ""])
def test_there_is_nothing_else(stranger: ApiClient, name: str) -> None:
    assert stranger.get(f"/portal/{name}").status_code == 404


def test_the_page_is_the_same_for_everybody(still_app: Starlette, portal: BlockingPortal) -> None:
    """The page contains no data, so credentials do not change it."""
    keyed = ApiClient(portal, still_app, {"Authorization": "Bearer x", "Cookie": "a=b"})

    assert keyed.get("/portal").content == ApiClient(portal, still_app).get("/portal").content
