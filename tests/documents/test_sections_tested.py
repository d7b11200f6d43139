"""Every section, decision and route of the contract is named by a test of it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.documents.pages import CONTRACT, ROOT, plain, route_table


def test_every_section_and_decision_is_named_by_a_test_of_it() -> None:
    """The docstring of the test or of its module must name it."""
    contract = CONTRACT.read_text(encoding="utf-8")
    numbered = {
        *re.findall(r"^### (\d\.\d)", contract, re.MULTILINE),
        *re.findall(r"^\| (D\.\d+) \|", contract, re.MULTILINE),
    }
    named = {
        section
        for module in _test_modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Module | ast.FunctionDef)
        for section in _sections(node)
    }

    assert numbered - named == set()


def test_every_route_is_requested_by_a_test_that_names_its_section() -> None:
    """The docstring of the test names the section. The test itself or a function that it calls sends the request."""
    requested = [
        (method, path, section)
        for module in _test_modules()
        for test in ast.walk(module)
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
        for method, path in _requests(module, test)
        for section in _sections(test)
    ]
    routes = [
        (method, plain(path), re.findall(r"\[(.+)]", section)[0]) for method, path, _, _, section, _ in route_table()
    ]

    assert [route for route in routes if not any(_is_of(asked, route) for asked in requested)] == []


def _test_modules() -> list[ast.Module]:
    return [_parsed(path) for path in sorted((ROOT / "tests").rglob("test_*.py"))]


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(module: ast.Module) -> Iterator[tuple[ast.Module, set[str]]]:
    """Yield the modules of tests from which a module imports, each with the names that it imports."""
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            path = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            if node.module.startswith("tests.") and path.is_file():
                yield _parsed(path), {alias.name for alias in node.names}


def _sections(node: ast.Module | ast.FunctionDef) -> list[str]:
    """Return the sections and decisions that a docstring names."""
    return re.findall(r"(?<![\w.])(?:D\.\d+|\d\.\d|(?<=ontract )\d)(?!\d)", ast.get_docstring(node) or "")


@cache
def _constants(module: ast.Module) -> dict[str, str]:
    """Return the text constants of a module and those that it imports, by name."""
    found: dict[str, str] = {}
    for other, names in _imported(module):
        found |= {name: text for name, text in _constants(other).items() if name in names}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            text = _text(node.value, found)
            if text is not None:
                found[node.targets[0].id] = text
    return found


def _requests(module: ast.Module, test: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Yield the method and path of each request of a test and of what it calls. Unknown parts of a path are `…`."""
    named = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    called = [
        (function, owner)
        for owner, names in [(module, named), *_imported(module)]
        for function in owner.body
        if isinstance(function, ast.FunctionDef) and function.name in names & named
    ]
    for call, owner in ((node, owner) for function, owner in [(test, module), *called] for node in ast.walk(function)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args:
            path = _text(call.args[0], _constants(owner))
            if call.func.attr in {"get", "post", "put", "delete"} and path is not None:
                yield call.func.attr.upper(), path.partition("?")[0]


def _text(node: ast.expr, constants: dict[str, str]) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return constants.get(name)
        case ast.FormattedValue(value=value):
            return _text(value, constants) or "…"
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) or "…" for part in parts)
    return None


def _is_of(asked: tuple[str, str, str], route: tuple[str, str, str]) -> bool:
    """Return whether a request (method, path, section) matches a route."""
    pattern = re.sub(r"{\w+}", "[^/]+", route[1])
    return (asked[0], asked[2]) == (route[0], route[2]) and re.fullmatch(pattern, asked[1]) is not None
