"""The documents of this repository: their tables, and what they mention."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONTRACT, SETTINGS, OPERATIONS = (ROOT / "docs" / f"{name}.md" for name in ("contract", "settings", "operations"))
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
_FOLDERS = ("api", "engine", "ingest", "meterport", "sql", "tests")


def sources() -> list[Path]:
    """Return all files of code and tests."""
    return [path for folder in _FOLDERS for path in sorted((ROOT / folder).rglob("*.*"))]


def rows(page: Path, *header: str) -> list[list[str]]:
    """Return the cells of the table with a header, row by row, with their backticks."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next((at for at, line in enumerate(lines) if _cells(line) == [*header]), None)
    assert start is not None, f"{page.name} has no table {header}"
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(_cells(line))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []


def plain(cell: str) -> str:
    """Return a cell's text without the backticks around it."""
    return cell.removeprefix("`").removesuffix("`")


def mentioned(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield the page and text of every match of a pattern in the documents."""
    for page in PAGES:
        for match in re.finditer(pattern, page.read_text(encoding="utf-8")):
            yield page.name, match[0]


def route_table() -> list[list[str]]:
    return rows(CONTRACT, "method", "path", "guard", "answers", "section", "what it does")
