"""Words of any length and narrow screens: nothing leaves the screen, and chosen elements are visible."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.portal.conftest import Open
from tests.portal.customer import Customer, now
from tests.portal.page import settle, show

LONG = "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
INSIDE = "document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture(scope="module")
def wordy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Customer]:
    """A customer with long words in names, descriptions, keys and values."""
    running = Customer(Path(tmp_path_factory.mktemp("wordy")))
    key = LONG[:60].lower()
    running.create(
        {
            "slug": "wordy", "name": LONG, "description": LONG, "eventType": "prompt", "aggregation": "SUM",
            "valueProperty": "$.tokens", "groupBy": {key: "$.model", "model": "$.model"},
        }
    )  # fmt: skip
    running.send(*((now(), {"tokens": "1", "model": f"{LONG}{n}", "type": "t", "ms": 1}) for n in range(3)))
    yield running
    running.close()


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_long_words_stay_on_the_screen(page: Open, wordy: Customer, device: str) -> None:
    opened = page(device)
    shown = show(opened, wordy, wordy.token()["token"], f"meter=wordy&group=model&group={LONG[:60].lower()}&refresh=0")
    settle(shown)
    shown.wait_for_selector(".mp-course")

    assert shown.evaluate(INSIDE)
    panel = shown.locator(".mp-panel").bounding_box()
    assert panel is not None
    for part in (".mp-panel h2", ".mp-legend bdi", ".mp-chip span", ".mp-filter label"):
        for box in (each.bounding_box() for each in shown.locator(part).all()):
            assert box is not None
            assert box["x"] + box["width"] <= panel["x"] + panel["width"], part
    shown.hover(".mp-chart", position={"x": 150, "y": 60})
    tip, chart = shown.locator(".mp-tip").bounding_box(), shown.locator(".mp-chart").bounding_box()
    if tip is not None and chart is not None:
        assert tip["width"] <= chart["width"]


def test_values_of_other_scripts_do_not_turn_what_is_beside_them(page: Open, wordy: Customer) -> None:
    shown = show(page(), wordy, wordy.token()["token"], "meter=wordy&group=model&refresh=0")
    settle(shown)

    models = {data["model"] for _, data in wordy.events}  # other tests may have sent more than three
    assert shown.locator(".mp-table tbody td bdi").count() == len(models)
    assert shown.locator(".mp-legend li bdi").count() == len(models)


def test_on_a_small_screen_what_is_chosen_is_seen(page: Open, customer: Customer) -> None:
    opened = page("phone")
    opened.set_viewport_size({"width": 360, "height": 700})
    shown = show(opened, customer, customer.token()["token"], "meter=tokens&period=12m&refresh=0")
    settle(shown)
    shown.wait_for_selector(".mp-course")

    for chosen in (".mp-segments :checked + span", ".mp-card[aria-current=true]"):
        box = shown.locator(chosen).bounding_box()
        assert box is not None
        assert box["x"] >= 0, chosen
        assert box["x"] + box["width"] <= 360, chosen
    assert shown.evaluate("scrollY") == 0


def test_a_total_is_not_cut_on_its_card(page: Open, wordy: Customer) -> None:
    huge = {"slug": "huge", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.huge"}
    wordy.create(huge)
    wordy.send((now(), {"tokens": "1", "model": "m", "type": "t", "ms": 1, "huge": "67407407407340740740.5"}))
    token = wordy.token(allowedMeterSlugs=["huge", "calls"])["token"]
    shown = show(page("phone"), wordy, token, "meter=huge&refresh=0")
    settle(shown)
    shown.wait_for_selector(".mp-course")

    card = shown.locator(".mp-card[aria-current=true] .mp-card-total")
    expect(card).to_contain_text("6.741 × 10¹⁹")
    assert card.evaluate("at => at.scrollWidth <= at.clientWidth")
    assert card.inner_text().split("\n")[0] == "6.741 × 10¹⁹"
    assert card.locator("[title]").get_attribute("title") == "67,407,407,407,340,740,740.5"


LINES = """at => {
  const range = document.createRange()
  range.selectNodeContents(at)
  return range.getClientRects().length
}"""


def test_long_numbers_leave_room_for_the_groups(page: Open, wordy: Customer) -> None:
    vast = {
        "slug": "vast", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.vast",
        "groupBy": {"model": "$.model"},
    }  # fmt: skip
    wordy.create(vast)
    data = {"tokens": "1", "type": "t", "ms": 1, "vast": "66107495373935875892499020083294217654.896092398458209612"}
    wordy.send(*((now(), {**data, "model": model}) for model in ("atlas", "vision")))
    opened = page()
    opened.set_viewport_size({"width": 700, "height": 900})
    shown = show(opened, wordy, wordy.token()["token"], "meter=vast&group=model&refresh=0")
    settle(shown)

    names = shown.locator(".mp-table tbody bdi").all()
    assert [name.evaluate(LINES) for name in names] == [1, 1]
    assert shown.evaluate(INSIDE)


def test_on_a_phone_a_number_is_not_broken_for_a_long_name(page: Open, wordy: Customer) -> None:
    wordy.send((now(), {"tokens": "-3131.6", "model": LONG, "type": "t", "ms": 1}))
    opened = page("phone")
    opened.set_viewport_size({"width": 320, "height": 700})
    shown = show(opened, wordy, wordy.token()["token"], "meter=tokens&group=model&group=type&refresh=0")
    settle(shown)

    numbers = shown.locator(".mp-table td.mp-number").all()
    assert {number.evaluate(LINES) for number in numbers} == {1}
    assert shown.evaluate(INSIDE)


def test_a_card_of_a_small_phone_holds_its_total_in_one_line(page: Open, wordy: Customer) -> None:
    cents = {"slug": "cents", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.cents"}
    wordy.create(cents)
    wordy.send((now(), {"tokens": "1", "model": "m", "type": "t", "ms": 1, "cents": "5251265.77"}))
    opened = page("phone")
    opened.set_viewport_size({"width": 320, "height": 700})
    shown = show(opened, wordy, wordy.token()["token"], "meter=cents&refresh=0")
    settle(shown)

    card = shown.locator(".mp-card[aria-current=true] .mp-card-total [translate=no]")
    expect(card).to_have_text("5,251,265.77")
    assert card.evaluate(LINES) == 1


@pytest.fixture(scope="module")
def many_slugs(wordy: Customer) -> list[str]:
    """Create six meters, and return their slugs in the order of their cards."""
    slugs = [f"many_{number}" for number in range(6)]
    for slug in slugs:
        wordy.create({"slug": slug, "eventType": "never", "aggregation": "COUNT"})
    return slugs


@pytest.mark.parametrize("width", [390, pytest.param(640, marks=pytest.mark.only_long)])
def test_the_chosen_card_is_seen_whole_among_many(
    page: Open, wordy: Customer, many_slugs: list[str], width: int
) -> None:
    token = wordy.token(allowedMeterSlugs=many_slugs)["token"]
    opened = page()
    opened.set_viewport_size({"width": width, "height": 700})
    for slug in (many_slugs[0], many_slugs[3], many_slugs[-1]):
        show(opened, wordy, token, f"meter={slug}&refresh=0")
        opened.reload()
        settle(opened)
        opened.wait_for_timeout(600)

        box = opened.locator(".mp-card[aria-current=true]").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_on_paper_the_whole_chart_stands_in_light_colours(page: Open, customer: Customer) -> None:
    shown = show(page(scheme="dark"), customer, customer.token()["token"], "meter=tokens&filter=type:input&refresh=0")
    settle(shown)
    shown.wait_for_timeout(300)

    shown.emulate_media(media="print")

    narrow = "at => { at.parentElement.style.width = '500px'; return at.querySelector('canvas').clientWidth }"
    assert shown.locator(".mp-chart").evaluate(narrow) == 500  # at once: printing waits for no other frame
    total = shown.locator(".mp-total strong")
    assert total.evaluate("at => getComputedStyle(at).color") == "rgb(21, 26, 35)"
    expect(shown.get_by_label("Only type")).to_be_visible()  # the print shows the filters of the usage
    expect(shown.get_by_label("Only model")).to_be_hidden()


def test_dates_of_other_scripts_do_not_turn_what_is_beside_them(page: Open, customer: Customer) -> None:
    shown = show(page(), customer, customer.token()["token"], "meter=tokens&refresh=0")
    settle(shown)

    assert shown.locator(".mp-total bdi").count() == 1
    assert shown.locator(".mp-table tbody time").first.get_attribute("dir") == "auto"
