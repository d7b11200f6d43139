"""Take the pictures of docs/portal.md and README.md again: python -m tests.portal.screenshots.

They show the page with two months of one customer's events, in light and dark, on a desktop and a phone.
"""

import math
import random
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from tests.portal.browser import ROOT, VIEWPORTS, chromium
from tests.portal.customer import Customer, Event, now

OUT = ROOT / "docs" / "images"
UNITS = "units=tokens:tokens,latency:ms"
PICTURES = {
    "portal-desktop-light": ("desktop", "light", f"meter=tokens&{UNITS}&group=model"),
    "portal-desktop-dark": ("desktop", "dark", f"meter=tokens&{UNITS}&group=model"),
    "portal-phone-light": ("phone", "light", f"meter=calls&{UNITS}"),
    "portal-phone-dark": ("phone", "dark", f"meter=calls&{UNITS}"),
}


def main() -> None:
    """Take all pictures."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        customer = Customer(Path(directory))
        customer.send(*_events())
        token = customer.token(allowedMeterSlugs=["calls", "latency", "tokens"])["token"]
        for name, (device, scheme, view) in PICTURES.items():
            width, height = VIEWPORTS[device]
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
                locale="en-US",
                timezone_id="Europe/Berlin",
                device_scale_factor=1.5 if device == "phone" else 1,
            )
            page = context.new_page()
            page.goto(f"{customer.url}/portal#token={token}&{view}")
            page.wait_for_selector(".mp-course")
            page.wait_for_timeout(600)
            if device == "desktop":
                page.hover(".mp-chart", position={"x": 620, "y": 120})
            page.screenshot(path=OUT / f"{name}.png")
            context.close()
        customer.close()


def _events() -> Iterator[Event]:
    random_numbers = random.Random(7)  # noqa: S311 - so that the pictures are the same every time
    for hours in range(24 * 62):
        at = now() - timedelta(hours=hours)
        busy = (1 + math.sin((at.hour - 7) / 24 * math.tau)) * (0.4 if at.weekday() > 4 else 1)
        for _ in range(round(busy * 2 + random_numbers.random())):
            model = random_numbers.choices(["atlas-large", "atlas-small", "vision", "embed"], [5, 3, 1, 2])[0]
            tokens = random_numbers.randint(1000, 9000) / 10
            yield at, {"tokens": str(tokens), "model": model, "type": "input", "ms": random_numbers.randint(80, 900)}


if __name__ == "__main__":
    main()
