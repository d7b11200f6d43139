"""The documents name exactly the settings, options, metrics, routes and error codes that exist.

Owns: reading the tables of docs/*.md, and comparing them with the running code in both directions. If a document is
out of date, or promises more than the code does, a test fails here.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import anyio
import orjson
import pytest
import typer.main
import yaml
from anyio.from_thread import start_blocking_portal
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from api.app import create_app
from api.http.problems import from_meterport_error
from api.server.refusals import Reason
from engine import errors, metrics
from engine.config.files import ENV_PREFIX, SECRETS_VARIABLE
from engine.config.loading import HARNESS_PREFIX, load_settings
from engine.config.settings import Settings, setting_names, variable_name
from engine.meters.definition import parse_definition
from engine.meters.meter import MeterState
from engine.store.clickhouse import Store
from meterport import cli
from tests.api.conftest import KEY, MemoryLog, build
from tests.harness.api_client import ApiClient

ROOT = Path(__file__).resolve().parent.parent
CONTRACT, SETTINGS, OPERATIONS = (ROOT / "docs" / f"{name}.md" for name in ("contract", "settings", "operations"))
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
SOURCES = [
    path
    for folder in ("api", "engine", "ingest", "meterport", "sql", "tests")
    for path in sorted((ROOT / folder).rglob("*.*"))
]
PROMPTED = {f"{ENV_PREFIX}SERVER__PROT"}  # a misspelling that docs/settings.md shows on purpose
FILES = {"log.sqlite"}  # looks like a setting of the group `log`
HTTP_ONLY = {
    "internal-error": 500,
    "not-ready": 503,
    "method-not-allowed": 405,
    "malformed-request": 400,
    "request-timeout": 408,
    "uri-too-long": 414,
    "head-too-large": 431,
    "too-many-connections": 503,
}  # answered without an error from the tree


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


# settings


def test_every_setting_stands_with_its_variable_and_default() -> None:
    documented = {plain(row[0]): (plain(row[1]), row[2]) for row in _settings_table()}

    assert documented == {name: (variable_name(name), _shown_default(field)) for name, field in setting_names().items()}
    assert all(row[3] for row in _settings_table())


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    groups = {name.split(".")[0] for name in setting_names() if "." in name}
    named = set(mentioned(rf"(?<=`)(?:{'|'.join(groups)})\.[a-z_0-9]+(?=[`=])"))

    assert [(page, name) for page, name in sorted(named) if name not in setting_names() and name not in FILES] == []


def test_no_page_names_a_variable_that_does_not_exist() -> None:
    known = {variable_name(name) for name in setting_names()} | {variable_name(name) for name in Settings.model_fields}
    known.add(SECRETS_VARIABLE)
    named = set(mentioned(rf"\b{ENV_PREFIX}[A-Z0-9_]*[A-Z0-9]"))

    assert [
        (page, name)
        for page, name in sorted(named)
        if name not in known | PROMPTED and not name.startswith(HARNESS_PREFIX)
    ] == []


def test_the_example_of_settings_is_taken(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", SETTINGS.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "meterport.yaml").write_text(example)

    settings = load_settings(tmp_path / "meterport.yaml", overrides={"api_key": "a-key-of-this-test"})

    assert settings.server.telemetry_port == yaml.safe_load(example)["server"]["telemetry_port"]
    assert [parse_definition(body).slug for body in settings.meters] == ["tokens_total", "prompts"]


def test_the_example_of_tls_and_sasl_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = re.findall(r"```sh\n(METERPORT_KAFKA.*?)```", SETTINGS.read_text(encoding="utf-8"), re.DOTALL)
    given = dict(re.findall(r"^(\w+)=(\S+)", example, re.MULTILINE))
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    kafka = load_settings().kafka

    assert (kafka.security_protocol, kafka.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert len(given) == len(kafka.model_dump(exclude_defaults=True)) == 6


def _settings_table() -> list[list[str]]:
    return rows(SETTINGS, "setting", "variable", "default", "meaning")


def _shown_default(field: FieldInfo) -> str:
    """Return a default as the page writes it: a text unchanged, None as none, other values as JSON."""
    match field.get_default(call_default_factory=True):
        case None | "":
            return "none"
        case str() | Path() as text:
            return f"`{text}`"
        case value:
            return f"`{orjson.dumps(value).decode()}`"


# command line


def test_every_command_stands_with_its_options() -> None:
    documented = {plain(row[0]): re.findall(r"`(-[^`]+)`", row[1]) for row in rows(SETTINGS, "command", "options")}

    assert {name: sorted(options) for name, options in documented.items()} == {
        name: sorted(options) for name, options in _commands("meterport", typer.main.get_command(cli.app)) if options
    }


def _commands(name: str, command: Any) -> Iterator[tuple[str, list[str]]]:
    options = [
        text
        for option in command.params
        if option.param_type_name == "option" and option.name != "help"
        for text in (*option.opts, *option.secondary_opts)
    ]
    yield name, options
    for child, below in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {child}", below)


# metrics


def test_every_metric_stands_with_its_type_and_labels() -> None:
    documented = {plain(row[0]): (row[1], sorted(re.findall(r"`(\w+)`", row[2]))) for row in _metrics_table()}

    assert documented == {_sample_name(metric): (_kind(metric), sorted(metric._labelnames)) for metric in _metrics()}


def test_every_metric_of_the_registry_is_one_of_the_module() -> None:
    """So the two neighbouring tests compare all metrics."""
    assert {family.name for family in metrics.REGISTRY.collect()} == {_describe(metric)[0] for metric in _metrics()}


def test_no_page_names_a_metric_that_does_not_exist() -> None:
    known = {_sample_name(metric) for metric in _metrics()}
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "count", "sum")}

    named = mentioned(r"\bmeterport_[a-z_]+")

    assert [(page, name) for page, name in named if name not in known] == []


def test_every_value_of_a_fixed_label_stands_with_its_metric() -> None:
    told = {plain(row[0]): set(re.findall(r"`(\w+)`", row[3])) for row in _metrics_table()}

    assert told["meterport_ingest_phase_seconds_total"] == {*get_args(metrics.Phase)}
    assert told["meterport_meters"] == {state.value for state in MeterState}
    reasons = {name for row in rows(OPERATIONS, "reason", "what happened", "likely") for name in row[0].split(", ")}
    assert {plain(name) for name in reasons} == {*get_args(Reason)}


def _metrics_table() -> list[list[str]]:
    return rows(OPERATIONS, "metric", "type", "labels", "tells", "alert on")


def _metrics() -> list[MetricWrapperBase]:
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


def _describe(metric: MetricWrapperBase) -> tuple[str, str]:
    (described,) = metric.describe()
    return described.name, described.type


def _kind(metric: MetricWrapperBase) -> str:
    return _describe(metric)[1]


def _sample_name(metric: MetricWrapperBase) -> str:
    name, kind = _describe(metric)
    return f"{name}_total" if kind == "counter" else name


# log messages


def test_every_log_message_stands_with_its_level() -> None:
    documented = {(plain(row[0]), row[1]) for row in rows(OPERATIONS, "message", "level", "means")}
    levels = {"exception": "error"}
    logged = {
        (name, levels.get(level, level))
        for path in SOURCES
        if path.suffix == ".py" and path.parent.name != "tests"
        for level, name in re.findall(r'logger\.(\w+)\(\s*"([a-z_]+)', path.read_text(encoding="utf-8"))
    }

    assert documented == logged


# routes


@pytest.fixture
def app(store: Store, settings: Settings) -> Starlette:
    """The application with an API key, over an empty store."""
    keyed = settings.model_copy(update={"api_key": SecretStr(KEY)})
    return create_app(build(store, keyed, MemoryLog(store, keyed)))


def test_every_route_stands_in_the_table(app: Starlette) -> None:
    documented = [(row[0], plain(row[1])) for row in _route_table()]

    assert sorted(documented) == sorted(
        (method, _path(route)) for route in _routes(app) for method in route.methods or () if method != "HEAD"
    )


def test_every_route_is_guarded_and_answers_as_the_table_says(app: Starlette) -> None:
    """The store is empty and no body is sent, so each route answers 200 or one of its errors."""
    with start_blocking_portal() as portal:
        clients = {guard: ApiClient(portal, app, headers) for guard, headers in _CREDENTIALS.items()}
        for method, path, guard, answers, _, _ in _route_table():
            url = re.sub(r"{\w+}", "nope", plain(path))
            found = {name: client.request(method, url).status_code for name, client in clients.items()}

            assert (found["nobody"] == 401) is (guard != "open"), (method, path)
            assert (found["key"] == 401) is (guard == "token"), (method, path)
            if guard != "token":
                assert str(found["key"]) in answers.split(", "), (method, path, found)


def test_no_page_names_a_route_that_does_not_exist(app: Starlette) -> None:
    named = set(
        mentioned(r"(?<![\w.}])/(?:api/v\d[\w/{}.-]*|livez|readyz|metrics|version|openapi\.json)\b[^\s`?\"\\]*")
    )
    routes = _routes(app)

    unknown = [
        (page, path)
        for page, path in sorted(named)
        if not any(route.path_regex.match(path) or _path(route) == path for route in routes)
    ]

    assert unknown == []


_CREDENTIALS: dict[str, dict[str, str]] = {"nobody": {}, "key": {"Authorization": f"Bearer {KEY}"}}


def _route_table() -> list[list[str]]:
    return rows(CONTRACT, "method", "path", "guard", "answers", "section", "what it does")


def _routes(app: Starlette) -> list[Route]:
    return [route for route in app.routes if isinstance(route, Route)]


def _path(route: Route) -> str:
    """Return a route's path without the types of its parameters: {subject:path} becomes {subject}."""
    return re.sub(r":\w+}", "}", route.path)


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
    """The docstring of the test names the section. The test itself or a function of its module sends the request."""
    requested = [
        (method, path, section)
        for module in _test_modules()
        for test in ast.walk(module)
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
        for method, path in _requests(module, test)
        for section in _sections(test)
    ]
    routes = [
        (method, plain(path), re.findall(r"\[(.+)]", section)[0]) for method, path, _, _, section, _ in _route_table()
    ]

    assert [route for route in routes if not any(_is_of(asked, route) for asked in requested)] == []


def _test_modules() -> list[ast.Module]:
    return [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "tests").rglob("test_*.py"))]


def _sections(node: ast.Module | ast.FunctionDef) -> list[str]:
    """Return the sections and decisions that a docstring names."""
    return re.findall(r"(?<![\w.])(?:D\.\d+|\d\.\d|(?<=ontract )\d)(?!\d)", ast.get_docstring(node) or "")


def _constants(module: ast.Module) -> dict[str, str]:
    """Return the text constants of a module, by name."""
    found: dict[str, str] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            text = _text(node.value, found)
            if text is not None:
                found[node.targets[0].id] = text
    return found


def _requests(module: ast.Module, test: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Yield the method and path of each request of a test. Unknown parts of a path are `…`."""
    constants = _constants(module)
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    called = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)} & functions.keys()
    for call in (node for function in (test, *(functions[name] for name in called)) for node in ast.walk(function)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args:
            path = _text(call.args[0], constants)
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


# errors


def test_every_error_code_stands_with_its_status_or_as_an_exit() -> None:
    answered = {plain(row[0]): int(row[1]) for row in rows(CONTRACT, "code", "status", "detail begins", "what to do")}
    exits = {plain(row[1]): int(row[0]) for row in rows(OPERATIONS, "status", "code", "means", "do") if row[1] != "–"}
    leaves = list(_leaves(errors.MeterportError))

    assert answered == HTTP_ONLY | {leaf.code: _status(leaf) for leaf in leaves if not issubclass(leaf, errors.Fatal)}
    assert exits == {
        leaf.code: cli.EX_CONFIG if leaf is errors.ConfigurationError else cli.EX_SOFTWARE
        for leaf in leaves
        if issubclass(leaf, errors.Fatal)
    }


def _leaves(error: type[errors.MeterportError]) -> Iterator[type[errors.MeterportError]]:
    """Yield the leaves of the tree that engine/errors.py draws. Subclasses elsewhere have the code of their parent."""
    below = [child for child in error.__subclasses__() if child.__module__ == errors.__name__]
    if not below:
        yield error
    for child in below:
        yield from _leaves(child)


def _status(error: type[errors.MeterportError]) -> int:
    request = Request({"type": "http", "headers": [], "state": {"request_id": "1"}})
    return anyio.run(from_meterport_error, request, error("wrong")).status_code


def test_codes_the_api_gives_by_itself_are_given_by_it() -> None:
    written = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "api").rglob("*.py")))

    missing = {code for code in HTTP_ONLY if f'"{code}"' not in written}
    assert missing == {"method-not-allowed"}  # its code is the phrase of the HTTP status


# references between code and pages


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
        for path in SOURCES
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
