"""Portal queries over HTTP, compared with other designs on the same events, and with the least that they could take.

The server runs in this process, and its client in another one. The alternatives take turns: the portal, the same
question written by hand on the rollups (the floor) and asked through the client, and the designs of
benchmarks/designs.py. The answers of all of them must be equal.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import orjson

from api.server.server import HttpServer, listening_socket, uvicorn_config
from benchmarks import designs, world
from benchmarks.events import HEAVY, LIGHT, Data, store_events
from benchmarks.measure import Measurement, in_turn, milliseconds, ratio, timed
from benchmarks.portal_client import PortalClient
from engine.config.loading import load_settings
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.store.clickhouse import Store
from meterport.process import Process

ROUNDS = 15
_FROM, _TO = "2025-12-01T00:00:00Z", "2025-12-31T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Question:
    """A portal query, and the SQL parts with which the other designs ask the same."""

    parameters: dict[str, str]
    window: str
    group: str = ""
    from_: str = _FROM
    to: str = _TO

    @property
    def path(self) -> str:
        """The path and the query string of the request."""
        return "/api/v1/portal/meters/tokens/query?" + urlencode({"from": self.from_, "to": self.to, **self.parameters})

    def literal(self, bound: str) -> str:
        """Return a bound as SQL."""
        return f"parseDateTime64BestEffort('{bound}', 3, 'UTC')"


DAY = "toStartOfDay(time, 'UTC')"
QUESTIONS = {
    "month by day": Question({"windowSize": "DAY"}, DAY),
    "month by day and model": Question({"windowSize": "DAY", "groupBy": "model"}, DAY, "model"),
    "month by day in New York": Question(
        {"windowSize": "DAY", "windowTimeZone": "America/New_York"}, "toStartOfDay(time, 'America/New_York')"
    ),
    "week by hour": Question(
        {"windowSize": "HOUR"}, "toStartOfHour(time)", "", "2025-12-08T00:00:00Z", "2025-12-15T00:00:00Z"
    ),
    "month by day, odd bounds": Question(
        {"windowSize": "DAY"}, DAY, "", "2025-12-03T04:05:06.789Z", "2025-12-27T18:17:16.151Z"
    ),
}


def run(events: int) -> list[str]:
    """Measure and return the lines to print."""
    return [each.line for each in measure(events)]


def measure(events: int) -> list[Measurement]:
    """Store the events in every design, ask all questions in turn, and return the ratios."""
    with world.scratch() as directory, _serving(directory) as (process, port), PortalClient(port) as client:
        data = Data(events)
        meter = _fill(process, data)
        tokens = {subject: _token(process, subject) for subject in (HEAVY, LIGHT)}
        found: list[Measurement] = []
        for subject, (name, question) in itertools.product((HEAVY, LIGHT), QUESTIONS.items()):
            kind = "heavy" if subject == HEAVY else "light"
            found += _compare(process.store, client, meter, f"{kind}, {name}", question, subject, tokens[subject])
        found += _against_aligned(client, tokens[HEAVY])
    return found


@contextlib.contextmanager
def _serving(directory: Path) -> Iterator[tuple[Process, int]]:
    """Run a whole process of Meterport with its server in this process. Yield it and its port."""
    settings = load_settings(overrides={"data_dir": directory, "server": {"port": 0}})
    process = Process(settings)
    process.start()
    socket = listening_socket("127.0.0.1", 0, "server.port")
    server = HttpServer(uvicorn_config(process.app(), "127.0.0.1", socket.getsockname()[1], settings))
    thread = threading.Thread(target=server.run, args=([socket],))
    thread.start()
    try:
        yield process, socket.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        process.stop()


def _fill(process: Process, data: Data) -> Meter:
    for body in world.METERS:
        process.registry.create(parse_definition(dict(body)))
    while any(meter.state is not MeterState.READY for meter in process.registry.all()):
        time.sleep(0.1)
    store_events(process.store, data, "reading")
    designs.create(process.store, data)
    return process.registry.find("tokens")


def _token(process: Process, subject: str) -> str:
    _, token = process.tokens.create(subject, None, None)
    return token


def _compare(
    store: Store, client: PortalClient, meter: Meter, name: str, question: Question, subject: str, token: str
) -> list[Measurement]:
    """Ask one question in every way, in turn."""
    from_, to = question.literal(question.from_), question.literal(question.to)
    statements = {
        design: designs.statement(design, subject, question.window, question.group, from_, to)
        for design in ("raw", "final", "limit by")
    }
    calls: dict[str, Callable[[], float]] = {
        "portal": partial(_asked, client, question.path, token),
        **{design: timed(_asking(store, statement)) for design, statement in statements.items()},
        "select 1": timed(_asking(store, "SELECT 1")),
    }
    if name.endswith("month by day"):
        calls["floor"] = timed(_asking(store, _floor(meter, subject)))
    expected = [float(row[-1]) for row in store.rows(statements["final"])]
    answer = orjson.loads(client.get(question.path, token)[2])["data"]
    if [float(row["value"]) for row in answer] != expected:
        raise AssertionError(f"{name}: the portal and the design `final` give different answers")
    seconds = in_turn(calls, ROUNDS)
    found = [milliseconds(f"{name}: portal over HTTP", seconds["portal"])]
    found += [ratio(f"{name}: {each} / portal", seconds[each], seconds["portal"]) for each in statements]
    if "floor" in seconds:
        found.append(
            ratio(f"{name}: portal / floor through the client", seconds["portal"], seconds["floor"], at_most=1.25)
        )
        found.append(ratio(f"{name}: portal / SELECT 1 through the client", seconds["portal"], seconds["select 1"]))
    return found


def _against_aligned(client: PortalClient, token: str) -> list[Measurement]:
    """Compare questions in other zones and with odd bounds with the question for whole UTC days."""
    plain = QUESTIONS["month by day"].path
    found = []
    for name in ("month by day in New York", "month by day, odd bounds"):
        seconds = in_turn(
            {
                "this": partial(_asked, client, QUESTIONS[name].path, token),
                "plain": partial(_asked, client, plain, token),
            },
            ROUNDS,
        )
        found.append(ratio(f"heavy, {name} / month by day", seconds["this"], seconds["plain"], at_most=2))
    return found


def _asked(client: PortalClient, path: str, token: str) -> float:
    seconds, status, body = client.get(path, token)
    if status != 200:
        raise AssertionError(f"{path}: {status} {body.decode()}")
    return seconds


def _asking(store: Store, statement: str) -> Callable[[], object]:
    return lambda: store.rows(statement)


def _floor(meter: Meter, subject: str) -> str:
    """Return the shortest query that a person would write for a month by day."""
    return (
        f"SELECT window, sum(total) FROM {meter.table('day')} WHERE subject = '{subject}' "
        "AND window >= '2025-12-01' AND window < '2025-12-31' GROUP BY window ORDER BY window"
    )
