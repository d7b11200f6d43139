"""Sections that code and tests name exist, and links between pages lead somewhere."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.documents.pages import CONTRACT, PAGES, ROOT, sources


@pytest.mark.parametrize(
    ("pattern", "section"),
    [
        (r"\bD\.(\d+)\b", lambda number: f"| D.{number} |"),
        (r"\b[Cc]ontract(?:\.md)?,? (\d(?:\.\d)?)\b", lambda number: f" {number}{'' if '.' in number else '.'} "),
        (r"contract\.md,?(?: [D.\d]+,?| and)* \"([A-Z][a-z A-Z]+)\"", lambda name: f" {name}\n"),
    ],
    ids=["decisions", "sections by number", "sections by name"],
)
def test_sections_that_code_and_tests_name_exist(pattern: str, section: Callable[[str], str]) -> None:
    contract = CONTRACT.read_text(encoding="utf-8")
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in sources()
        if path.suffix in {".py", ".sql"} and path != Path(__file__)
        for name in re.findall(pattern, path.read_text(encoding="utf-8"))
    }
    headings = "".join(f"{line}\n" for line in contract.splitlines() if line.startswith(("#", "| D.")))

    assert named
    assert [(path, name) for path, name in sorted(named) if section(name) not in headings] == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]*#?[^):]*)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            other = page.parent / path if path else page
            if not other.is_file() or (anchor and anchor not in _anchors(other)):
                broken.append((page.name, target))

    assert broken == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
