"""One `meterport serve` with an embedded store that takes its events from a topic, and dies again and again.

Owns: `Alone`, a `Cluster` of that one process; kills in the middle of an embedded insert, from outside and at the
moment when the first table has its part; a member of the group that holds partitions and does nothing with them; the
scenarios of these. A session ends long after its process died, so that partitions come back late and one by one.
Limits: one engine path a process, so the store is read by a process of its own while `serve` is stopped.
"""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import Consumer

from tests.chaos.cluster import Cluster, Ground, Result, wait_until
from tests.chaos.processes import Process
from tests.chaos.topic import Raw
from tests.harness.crash import METERS
from tests.harness.server import ROOT

SERVE = (sys.executable, "-m", "meterport", "serve", "--port", "0")
DEFAULT_SESSION_SECONDS = 45
SESSION_SECONDS = 12  # of a process that died; it is back after two
PARTITIONS = 4
_LISTENING = r"listening url=(\S+) for=api"
_READER = """
import json, sys, clickhouse_connect
client = clickhouse_connect.get_client(interface="chdb", path=sys.argv[1], database="meterport")
for line in sys.stdin:
    print(json.dumps(client.query(json.loads(line)).result_rows), flush=True)
client.close()
"""


@dataclass(frozen=True, slots=True)
class _Rows:
    result_rows: list[tuple[Any, ...]]

    @property
    def first_row(self) -> tuple[Any, ...]:
        return self.result_rows[0]


class _Reader:
    """Asks a store that nobody has open; has of a client's methods those that the checks use."""

    def __init__(self, store: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _READER, str(store)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def query(self, statement: str) -> _Rows:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(statement) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the store could not be read: {statement}"
        return _Rows([tuple(row) for row in json.loads(answer)])

    def close(self) -> None:
        """End the process that has the store open."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class Alone(Cluster):
    """A topic, a group, and the one process with its data directory."""

    def __init__(
        self, ground: Ground, name: str, command: Sequence[str] | None = None, session_seconds: int = SESSION_SECONDS
    ) -> None:
        super().__init__(ground, name, partitions=PARTITIONS, meters=METERS[:3])
        self.data = self.directory / "data"
        for variable in ("STORE__URL", "STORE__DATABASE", "STORE__TIMEOUT_SECONDS"):
            del self._variables[f"METERPORT_{variable}"]
        self._variables |= {
            "METERPORT_DATA_DIR": str(self.data),
            "METERPORT_KAFKA__OPTIONS": json.dumps({"session.timeout.ms": str(session_seconds * 1000)}),
        }
        self._serve_command = command or SERVE

    def start(self) -> Process:
        """Start the process; it is started again whenever it dies."""
        self._api = self.fleet.add(Process("serve", self.directory, self._serve_command, self._variables, _LISTENING))
        return self._api

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Stop the process, and read its store meanwhile."""
        assert self._api is not None
        assert self.fleet.retire(self._api) == 0, self._api.tail()
        with closing(_Reader(self.data / "store")) as reader:
            yield reader
        self._api.start()

    def drop_store(self) -> None:
        """See `Cluster.drop_store`."""
        shutil.rmtree(self.data)

    def newest_block(self, table: str) -> int:
        """Return the number of the newest block that a table has in place."""
        names = [entry.name.split("_") for entry in (self.data / "store/data/meterport" / table).iterdir()]
        return max((int(name[2]) for name in names if name[0].isdigit() or name[0] == "all"), default=0)

    def finish(self, title: str, allowed: Sequence[int] = ()) -> Result:
        """See `Cluster.finish`. A meter made only now counts what `events` holds, so what is there twice shows."""
        self.extra_meter()
        return super().finish(title, allowed)


class PartWatcher:
    """Kills a process as soon as a table has a new part: the tables behind it do not have theirs yet, mostly."""

    def __init__(self, run: Alone, process: Process) -> None:
        self._run = run
        self._process = process
        self._before = run.newest_block("events")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="part-watcher", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._closing.is_set():
            if self._run.newest_block("events") > self._before:
                self._process.kill()
                return

    def wait(self, seconds: float = 60) -> None:
        """Wait until the process was killed. Raises: AssertionError: no part came."""
        self._thread.join(seconds)
        self._closing.set()
        assert not self._thread.is_alive(), "no part was written"


class Squatter:
    """A member of the group that holds partitions and reads nothing, as one that died does until its session ends."""

    def __init__(self, run: Alone) -> None:
        options: dict[str, Any] = {
            "bootstrap.servers": run.ground.broker.bootstrap,
            "group.id": run.topic.group,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "log_level": 0,
        }
        self._consumer = Consumer(options)
        self._consumer.subscribe([run.topic.name])
        self._closing = threading.Event()
        self._held: set[int] = set()
        self._thread = threading.Thread(target=self._hold, name="squatter", daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        while not self._closing.is_set():
            self._consumer.poll(0.1)
            held = self._consumer.assignment()
            if held:
                self._consumer.pause(held)
            self._held = {place.partition for place in held}

    @property
    def held(self) -> set[int]:
        return set(self._held)

    def leave(self) -> None:
        """Leave the group, so that others get the partitions."""
        self._closing.set()
        self._thread.join()
        self._consumer.close()


def alone_killed(ground: Ground, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Kill the process within its inserts and anywhere else, under load; it is back long before its session ends."""
    chance = Random(5)  # noqa: S311
    with closing(Alone(ground, "alone", command)) as run:
        serve = _serving(run)
        run.writer.run(1500)
        for turn in range(rounds):
            if turn % 3 == 0:
                watcher = PartWatcher(run, serve)
                watcher.wait()
            else:
                time.sleep(chance.uniform(0.5, 4))
                run.fleet.kill(serve, "ingest.in-insert:2" if turn % 3 == 1 else "")
            serve.wait_until_ready()
            run.runs += 1
        run.fleet.faults.clear()  # those that no process came to: what is left is to be stored
        return run.finish("embedded store and ingest killed together")


def alone_for_default_sessions(ground: Ground, rounds: int = 1) -> Result:
    """Kill the process seven times in 20,000 events, with sessions as long as Kafka's default; a new store each round.

    A member that died keeps its partitions for 45 seconds, longer than all of the load takes.
    """
    chance = Random(7)  # noqa: S311
    total = Result("embedded, sessions of 45 s, 7 kills in 20,000 events", 0, 0)
    for _ in range(rounds):
        with closing(Alone(ground, "alone_long", session_seconds=DEFAULT_SESSION_SECONDS)) as run:
            serve = run.start()
            run.writer.run(1000)
            run.create(*run.meters)
            for kill in range(7):
                time.sleep(chance.uniform(0.5, 2.5))
                run.fleet.kill(serve, "ingest.in-insert:1" if kill % 2 else "")
                serve.wait_until_ready()
            run.writer.finish()
            run.writer.send(max(0, 20_000 - len(run.writer.numbers)))
            result = run.finish(total.scenario)
        total.runs += 1
        total.events += result.events
        total.seconds += result.seconds
    return total


def alone_parted(ground: Ground, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Leave an insert half done on a partition that somebody else holds then, and send its events to the others.

    Which partitions the other member gets is the group's choice, so it is tried until it got the one.
    """
    chance = Random(6)  # noqa: S311
    parted = 0
    with closing(Alone(ground, "alone_parted", command)) as run:
        serve = _serving(run)
        for turn in range(20 * rounds):
            parted += _part(run, serve, chance.randrange(PARTITIONS))
            run.runs = turn + 1
            if parted >= rounds:
                break
        assert parted >= rounds, f"in {run.runs} runs the plan was with another member {parted} times"
        return run.finish("embedded: a plan half inserted, its partition held by another member")


def _part(run: Alone, serve: Process, partition: int) -> bool:
    """Do so once. Returns whether the insert was half done, and the other member held the partition."""
    _wait_until_drained(run)
    sent = [event.body for event in run.writer.take(8000)]
    keys = run.newest_block("event_keys")
    watcher = PartWatcher(run, serve)
    serve.wanted = False
    run.writer.raw([Raw(partition, body) for body in sent])
    watcher.wait()
    half_done = run.newest_block("event_keys") == keys
    squatter = Squatter(run)
    wait_until(lambda: len(squatter.held) == PARTITIONS, 60, "the other member was not given the partitions")
    serve.start()
    serve.wait_until_ready()
    wait_until(lambda: 0 < len(squatter.held) < PARTITIONS, 60, "the process was given no partition")
    ours = sorted(set(range(PARTITIONS)) - squatter.held)
    held = partition in squatter.held
    run.writer.raw([Raw(ours[at % len(ours)], body) for at, body in enumerate(sent[:500])])
    wait_until(lambda: _is_stored(run, ours), 90, f"what was sent again was not stored\n{serve.tail()}")
    squatter.leave()
    run.recovery.begins()
    _wait_until_drained(run)
    return held and half_done


def _is_stored(run: Alone, partitions: Sequence[int]) -> bool:
    ends, commits = run.topic.ends(), run.topic.commits()
    return all(commits[number][0] == ends[number] and not commits[number][1] for number in partitions)


def _wait_until_drained(run: Alone) -> None:
    wait_until(run.topic.is_drained, 120, f"not everything was stored\n{run.tails()}")


def _serving(run: Alone) -> Process:
    serve = run.start()
    serve.wait_until_ready()
    run.create(*run.meters)
    run.writer.send(1000)
    _wait_until_drained(run)
    return serve
