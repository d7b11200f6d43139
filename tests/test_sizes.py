"""Modules and functions stay small enough to read at once. CONTRIBUTING.md names the limits."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("api", "benchmarks", "deploy", "engine", "examples", "ingest", "meterport", "tests")
MODULE_LINES = 320
FUNCTION_LINES = 45
PACKAGE_PARTS = 20


def too_long(name: str, text: str) -> Iterator[str]:
    """Yield what is too long in a module. Of a function, the statements count: a command has options and help."""
    lines = text.count("\n")
    if lines > MODULE_LINES:
        yield f"{name} has {lines} lines, and {MODULE_LINES} is the limit"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
            lines = node.end_lineno - first.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{node.name} in {name} has {lines} lines, and {FUNCTION_LINES} is the limit"


def test_modules_and_functions_are_short() -> None:
    modules = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts]
    assert len(modules) > 500

    assert [what for path in modules for what in too_long(str(path.relative_to(ROOT)), path.read_text())] == []


def parts(package: Path) -> list[str]:
    """Return the modules and packages that are directly in a package, by name."""
    modules = [path.stem for path in package.glob("*.py") if path.name != "__init__.py"]
    return sorted(modules + [path.parent.name for path in package.glob("*/__init__.py")])


@pytest.mark.parametrize("package", ["api", "engine", "ingest", "meterport"])
def test_a_package_has_few_parts(package: str) -> None:
    found = parts(ROOT / package)

    assert 0 < len(found) <= PACKAGE_PARTS, found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\n" * 320, []),
        ("x = 1\n" * 321, ["m.py has 321 lines, and 320 is the limit"]),
        ("def f(\n" + "    a=1,\n" * 50 + ") -> None:\n" + '    """D."""\n' + "    x = 1\n" * 45, []),
        ("def f() -> None:\n" + "    x = 1\n" * 46, ["f in m.py has 46 lines, and 45 is the limit"]),
    ],
    ids=["320 lines", "321 lines", "what declares a function does not count", "46 lines"],
)
def test_what_is_longer_is_found(text: str, found: list[str]) -> None:
    assert list(too_long("m.py", text)) == found
