"""One `meterport serve` with an embedded store that reads its events from a topic and is killed again and again.

Owns: `EmbeddedCluster`, a `Cluster` of this one process; kills in the middle of an embedded insert, from outside and at
the moment when the first table has its part; a member of the group that holds partitions and does not read them; the
scenarios with these. A session ends long after its process died, so the partitions come back late and one by one.
Limits: chDB accepts one path per process, so a separate process reads the store while `serve` is stopped.
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

from tests.chaos.cluster import Cluster, Result
from tests.chaos.processes import Process
from tests.chaos.recovery import wait_until
from tests.chaos.services import Services
from tests.chaos.writer import RawRecord
from tests.harness.crash import METERS
from tests.harness.preloaded import METERPORT, ROOT

SERVE = (*METERPORT, "serve", "--port", "0")
DEFAULT_SESSION_SECONDS = 45
SESSION_SECONDS = 12  # how long a dead process keeps its partitions; it is back after two seconds
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
    """Queries a store that no other process has open. It has those methods of a client that the checks use."""

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
        """End the process that has opened the store."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class EmbeddedCluster(Cluster):
    """A topic, a group, and one process with its data directory."""

    def __init__(
        self,
        services: Services,
        name: str,
        command: Sequence[str] | None = None,
        session_seconds: int = SESSION_SECONDS,
    ) -> None:
        super().__init__(services, name, partitions=PARTITIONS, meters=METERS[:3])
        self.data = self.directory / "data"
        for variable in ("STORE__URL", "STORE__DATABASE", "STORE__TIMEOUT_SECONDS"):
            del self._variables[f"METERPORT_{variable}"]
        self._variables |= {
            "METERPORT_DATA_DIR": str(self.data),
            "METERPORT_KAFKA__OPTIONS": json.dumps({"session.timeout.ms": str(session_seconds * 1000)}),
        }
        self._serve_command = command or SERVE

    def start(self) -> Process:
        """Start the process. The supervisor starts it again whenever it dies."""
        self._api = self.fleet.add(Process("serve", self.directory, self._serve_command, self._variables, _LISTENING))
        return self._api

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Stop the process, yield a reader of its store, and start the process again."""
        assert self._api is not None
        assert self.fleet.retire(self._api) == 0, self._api.tail()
        with closing(_Reader(self.data / "store")) as reader:
            yield reader
        self._api.start()

    def drop_store(self) -> None:
        """See `Cluster.drop_store`."""
        shutil.rmtree(self.data)

    def newest_block(self, table: str) -> int:
        """Return the number of the newest block in the parts of a table."""
        names = [entry.name.split("_") for entry in (self.data / "store/data/meterport" / table).iterdir()]
        return max((int(name[2]) for name in names if name[0].isdigit() or name[0] == "all"), default=0)

    def finish(self, title: str, allowed: Sequence[int] = ()) -> Result:
        """See `Cluster.finish`. A meter that is created now counts the rows of `events`, and so shows duplicates."""
        self.extra_meter()
        return super().finish(title, allowed)


class PartWatcher:
    """Kills a process as soon as `events` has a new part. The tables that follow usually do not have theirs yet."""

    def __init__(self, run: EmbeddedCluster, process: Process) -> None:
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
        """Wait until the process was killed. Raises: AssertionError: no part was written."""
        self._thread.join(seconds)
        self._closing.set()
        assert not self._thread.is_alive(), "no part was written"


class IdleMember:
    """A group member that holds partitions and reads nothing, like a dead member until its session ends."""

    def __init__(self, run: EmbeddedCluster) -> None:
        options: dict[str, Any] = {
            "bootstrap.servers": run.services.broker.bootstrap,
            "group.id": run.topic.group,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "log_level": 0,
        }
        self._consumer = Consumer(options)
        self._consumer.subscribe([run.topic.name])
        self._closing = threading.Event()
        self._held: set[int] = set()
        self._thread = threading.Thread(target=self._hold, name="idle_member", daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        while not self._closing.is_set():
            self._consumer.poll(0.1)
            held = self._consumer.assignment()
            if held:
                self._consumer.pause(held)
            self._held = {position.partition for position in held}

    @property
    def held(self) -> set[int]:
        return set(self._held)

    def leave(self) -> None:
        """Leave the group, so that other members get the partitions."""
        self._closing.set()
        self._thread.join()
        self._consumer.close()


def embedded_killed(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Kill the process under load, during its inserts and at other times. It is back long before its session ends."""
    random = Random(5)  # noqa: S311
    with closing(EmbeddedCluster(services, "alone", command)) as run:
        serve = _start_loaded(run)
        run.writer.run(1500 * run.services.load)
        for turn in range(rounds):
            if turn % 3 == 0:
                watcher = PartWatcher(run, serve)
                watcher.wait()
            else:
                time.sleep(random.uniform(0.5, 4))
                run.fleet.kill(serve, "ingest.in-insert:2" if turn % 3 == 1 else "")
            serve.wait_until_ready()
            run.runs += 1
        run.fleet.faults.clear()  # drop the faults that no process reached, so that the rest is stored
        return run.finish("embedded store and ingest killed together")


def embedded_with_default_sessions(services: Services, rounds: int = 1) -> Result:
    """Kill the process seven times during 20,000 events, with Kafka's default session. Each round has a new store.

    A dead member keeps its partitions for 45 seconds, which is longer than the whole load takes.
    """
    random = Random(7)  # noqa: S311
    total = Result("embedded, sessions of 45 s, 7 kills in 20,000 events", 0, 0)
    for _ in range(rounds):
        with closing(EmbeddedCluster(services, "alone_long", session_seconds=DEFAULT_SESSION_SECONDS)) as run:
            serve = run.start()
            run.writer.run(1000 * run.services.load)
            run.create(*run.meters)
            for kill in range(7):
                time.sleep(random.uniform(0.5, 2.5))
                run.fleet.kill(serve, "ingest.in-insert:1" if kill % 2 else "")
                serve.wait_until_ready()
            run.writer.finish()
            run.writer.send(max(0, 20_000 - len(run.writer.numbers)))
            result = run.finish(total.scenario)
        total.runs += 1
        total.events += result.events
        total.seconds += result.seconds
    return total


def embedded_split_plan(services: Services, rounds: int = 1, command: tuple[str, ...] | None = None) -> Result:
    """Leave an insert half done on a partition that another member then holds, and send its events to other partitions.

    The group decides which partitions the other member keeps, and how far an insert gets is chance. So this is tried
    until both are right, with a partition that the other member kept before. At first librdkafka leaves it 2 and 3.
    """
    random = Random(6)  # noqa: S311
    successes, kept = 0, {2, 3}
    with closing(EmbeddedCluster(services, "embedded_split_plan", command)) as run:
        serve = _start_loaded(run)
        for turn in range(20 * rounds):
            partition = random.choice(sorted(kept))
            half_done, kept = _split_plan(run, serve, partition)
            successes += half_done and partition in kept
            run.runs = turn + 1
            if successes >= rounds:
                break
        assert successes >= rounds, (
            f"in {run.runs} runs another member held the partition of the plan only {successes} times"
        )
        return run.finish("embedded: a plan half inserted, its partition held by another member")


def _split_plan(run: EmbeddedCluster, serve: Process, partition: int) -> tuple[bool, set[int]]:
    """Do that once. Return whether the insert was half done, and the partitions that the other member kept."""
    _wait_until_drained(run)
    sent = [event.body for event in run.writer.take(8000)]
    keys = run.newest_block("event_keys")
    watcher = PartWatcher(run, serve)
    serve.is_supervised = False
    run.writer.send_raw([RawRecord(partition, body) for body in sent])
    watcher.wait()
    half_done = run.newest_block("event_keys") == keys
    idle_member = IdleMember(run)
    wait_until(lambda: len(idle_member.held) == PARTITIONS, "the other member did not get the partitions")
    serve.start()
    serve.wait_until_ready()
    wait_until(lambda: 0 < len(idle_member.held) < PARTITIONS, "the process got no partition")
    kept = idle_member.held
    own = sorted(set(range(PARTITIONS)) - kept)
    run.writer.send_raw([RawRecord(own[index % len(own)], body) for index, body in enumerate(sent[:500])])
    wait_until(lambda: _is_stored(run, own), f"the events that were sent again were not stored\n{serve.tail()}")
    idle_member.leave()
    run.recovery.fault_ended()
    _wait_until_drained(run)
    return half_done, kept


def _is_stored(run: EmbeddedCluster, partitions: Sequence[int]) -> bool:
    ends, commits = run.topic.ends(), run.topic.commits()
    return all(commits[number][0] == ends[number] and not commits[number][1] for number in partitions)


def _wait_until_drained(run: EmbeddedCluster) -> None:
    wait_until(run.topic.is_drained, f"not everything was stored\n{run.tails()}")


def _start_loaded(run: EmbeddedCluster) -> Process:
    serve = run.start()
    serve.wait_until_ready()
    run.create(*run.meters)
    run.writer.send(1000)
    _wait_until_drained(run)
    return serve
