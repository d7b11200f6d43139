"""The documents name exactly the checks of `meterport doctor`, and what a status means."""

import re

from meterport.doctor import (
    broker_checks,
    directory_checks,
    examination,
    gap_check,
    report,
    store_checks,
    topic_checks,
)
from tests.documents.pages import OPERATIONS, SETTINGS, plain, rows

MODULES = (broker_checks, directory_checks, examination, gap_check, store_checks, topic_checks)


def test_every_check_stands_with_what_it_finds() -> None:
    named = {name for row in rows(OPERATIONS, "check", "fault", "warning") for name in re.findall(r"`([^`]+)`", row[0])}

    assert named == {
        text
        for module in MODULES
        for name, text in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(text, str)
    }


def test_the_rights_on_clickhouse_are_those_that_are_checked() -> None:
    granted = f"GRANT {', '.join(store_checks.RIGHTS)} ON meterport.* TO meterport;"

    assert granted in SETTINGS.read_text(encoding="utf-8")


def test_every_status_stands_with_its_meaning() -> None:
    assert [plain(row[0]) for row in rows(OPERATIONS, "status", "means")] == [*report.Status]
