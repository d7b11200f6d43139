"""Frames show the page only on the sites that a setting names."""

from pathlib import Path

from playwright.sync_api import expect

from tests.portal.browser import site
from tests.portal.conftest import Open, Serve
from tests.portal.customer import Customer, now


def test_a_frame_shows_the_page_only_where_the_setting_says_so(page: Open, tmp_path: Path, serve: Serve) -> None:
    pages: dict[str, str] = {}
    url, stranger = serve(site(pages.get)), serve(site(pages.get))
    framed = Customer(tmp_path, {"METERPORT_PORTAL__FRAME_ANCESTORS": f'["{url}"]'})
    framed.send((now(), {"tokens": "2.5", "model": "vision", "type": "input", "ms": 1}))
    token = framed.token()
    pages["/"] = (
        f'<title>-</title><iframe title="Usage" width="900" height="700" '
        f'src="{framed.url}/portal#token={token["token"]}&meter=tokens&refresh=0.5"></iframe>'
        "<script>onmessage = ({data}) => { document.title = data.type + ' ' + data.reason }</script>"
    )

    opened, refused = page(), page()
    opened.goto(url)
    refused.goto(stranger)

    expect(opened.frame_locator("iframe").locator(".mp-total strong")).to_have_text("2.5")
    refused.wait_for_timeout(1000)
    assert refused.frame_locator("iframe").locator(".mp").count() == 0
    framed.revoke(token)
    expect(opened).to_have_title("meterport-expired revoked")
    framed.close()


def test_nobody_frames_the_page_by_default(page: Open, customer: Customer, serve: Serve) -> None:
    html = f'<iframe title="Usage" src="{customer.url}/portal#token={customer.token()["token"]}"></iframe>'
    url = serve(site({"/": html}.get))
    opened = page()

    opened.goto(url)
    opened.wait_for_timeout(1000)

    assert opened.frame_locator("iframe").locator(".mp").count() == 0
