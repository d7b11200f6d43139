"""The processes that meter one topic, and everything that they need, as a scenario uses them.

Owns: `Cluster` (the topic, group, database and processes of one scenario), the checks at the end of a scenario, and its
result.
Limits: loopback only; every wait has a time limit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count

import clickhouse_connect
import httpx
from clickhouse_connect.driver.client import Client

from tests.chaos import check
from tests.chaos.fold import Fold
from tests.chaos.processes import API, INGEST, Fleet, Process
from tests.chaos.recovery import Recovery, wait_until
from tests.chaos.services import SESSION_SECONDS, Services
from tests.chaos.topic import Topic
from tests.chaos.writer import RawRecord, Writer
from tests.harness import oracle
from tests.harness.crash import METERS
from tests.harness.translation import definition_body

PARTITIONS = 12
DRAIN_SECONDS = 900  # within which something more must be stored: a busy machine may be millions of events behind
_READY = r"ingesting topic="
_LISTENING = r"listening url=(\S+) for=api"
_numbers = count(1)


@dataclass(slots=True)
class Result:
    """One line of the table. `seconds`: the time from the end of each fault until all partitions continued."""

    scenario: str
    runs: int
    events: int
    lost: int = 0
    doubled: int = 0
    seconds: list[float] = field(default_factory=list)


class Cluster:
    """A topic, a group, a database, and the processes that use them."""

    def __init__(
        self,
        services: Services,
        name: str,
        *,
        partitions: int = PARTITIONS,
        protocol: str = "classic",
        meters: Sequence[oracle.Meter] = METERS,
        command: Sequence[str] | None = None,
        seed: int = 1,
        first: int = 0,
        twins: float = 0.02,
        options: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Args: command: replaces `meterport ingest`. options: further options of librdkafka."""
        self.name = name
        self.services = services
        unique = f"{name}_{next(_numbers)}"
        self.database = f"chaos_{unique}"
        self.directory = services.directory / unique
        self.topic = Topic(services.broker.bootstrap, f"topic_{unique}", f"group_{unique}", partitions)
        self.writer = Writer(services.broker.bootstrap, self.topic, seed, first, twins)
        self.fold = Fold(self.writer.numbers)
        self.letters: dict[tuple[int, int], str] = {}
        self.meters = list(meters[: services.most_meters])
        self.fleet = Fleet()
        self.recovery = Recovery(self.topic, lambda: self.writer.rate > 0)
        self.runs = 0
        self._extras = count()
        self._command = command or INGEST
        self._variables = _variables(self, protocol, options or {}) | dict(variables or {})
        self._api: Process | None = None
        self.fleet.on_kill = self.recovery.fault_ended
        self.fleet.variables_for = self._meter_at_start

    # processes

    def ingest(self, number: int = 1, command: Sequence[str] | None = None) -> list[Process]:
        """Start `number` more `meterport ingest`, and return them without waiting."""
        first = len(self.members)
        processes = [
            Process(f"ingest-{first + index}", self.directory, command or self._command, self._variables, _READY)
            for index in range(number)
        ]
        return [self.fleet.add(process) for process in processes]

    def api(self) -> str:
        """Return the URL of the `meterport api`, as soon as it listens."""
        if self._api is None:
            self._api = self.fleet.add(Process("api", self.directory, API, self._variables, _LISTENING, False))
        return self._api.wait_until_ready()[1].decode()

    @property
    def members(self) -> list[Process]:
        """All `meterport ingest` processes."""
        return [process for process in self.fleet.members if process is not self._api]

    @property
    def api_process(self) -> Process:
        self.api()
        assert self._api is not None
        return self._api

    # meters

    def extra_meter(self) -> oracle.Meter:
        """Return a new meter. It is one of those that are compared at the end."""
        meter = oracle.Meter(f"extra_{next(self._extras)}", "call", "SUM", "$.tokens", {"model": "$.model"})
        self.meters.append(meter)
        return meter

    def change_meters(self, most: int = 3) -> None:
        """Create an extra meter, and delete the oldest extra meters so that at most `most` remain."""
        self.create(self.extra_meter())
        extras = [meter for meter in self.meters if meter.slug.startswith("extra_")]
        for meter in extras[:-most]:
            self.meters.remove(meter)
            self.delete(meter.slug)

    def _meter_at_start(self, fault: str) -> dict[str, str]:
        """Return variables that make a process create a meter at its start, so that it reaches such a fault point."""
        if not fault.startswith("meter."):
            return {}
        return {"METERPORT_METERS": json.dumps([definition_body(self.extra_meter())])}

    def create(self, *meters: oracle.Meter) -> None:
        """Create meters over HTTP. After a 503 or without an answer, try again."""
        for meter in meters:
            self.call("POST", "/api/v1/meters", {201, 409}, json.dumps(definition_body(meter)).encode())

    def delete(self, slug: str) -> None:
        self.call("DELETE", f"/api/v1/meters/{slug}", {204, 404})

    def call(self, method: str, path: str, wanted: set[int], body: bytes = b"", kind: str = "application/json") -> None:
        """Send a request until its answer has one of the statuses `wanted`. Retry if the API dies or answers 503."""

        def answered() -> bool:
            try:
                answer = httpx.request(
                    method, self.api() + path, content=body, headers={"content-type": kind}, timeout=30
                )
            except httpx.TransportError:
                return False
            assert answer.status_code in wanted | {503}, answer.text
            return answer.status_code in wanted

        wait_until(answered, f"{method} {path} was not answered")

    def garbage(self, *records: RawRecord, reason: str = "not JSON") -> None:
        """Send records to the topic that must become dead letters with this reason."""
        self.letters |= dict.fromkeys(self.writer.send_raw(records), reason)

    # the store

    @contextmanager
    def client(self) -> Iterator[Client]:
        with clickhouse_connect.get_client(
            dsn=self.services.store.url, database=self.database, autogenerate_session_id=False
        ) as client:
            yield client

    # the end

    def finish(self, title: str, allowed: Sequence[int] = ()) -> Result:
        """Stop sending, wait until everything is stored and filled, and compare it with what was delivered.

        Args: allowed: exit statuses with which a process may have ended by itself.
        Raises: AssertionError: something is lost, doubled, wrong or left over.
        """
        self.writer.finish()
        self.create(*self.meters)  # existing ones are answered 409
        expected = self.topic.distinct_events()
        assert expected == len(self.writer.numbers), f"the topic holds {expected} events of {len(self.writer.numbers)}"
        try:
            wait_until(self.topic.is_drained, "not everything was stored", DRAIN_SECONDS, self.topic.stored)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.state()}") from None
        self.recovery.wait()
        wait_until(self.is_ready, "a meter was not filled", DRAIN_SECONDS)
        with self.client() as client:
            loss = check.loss(client, expected)
            check.check_tables(client, expected)
            check.check_letters(client, self.letters)
        check.check_meters(self.api(), self.fold, self.meters)
        assert not self.topic_moved(), "the offsets of the group moved after everything was stored"
        self.check_exits(allowed)
        self.fleet.close()
        self.drop_store()  # not reached if something is wrong: then the data is kept
        return Result(title, self.runs, expected, loss.lost, loss.doubled, list(self.recovery.seconds))

    def drop_store(self) -> None:
        """Remove the data of the scenario."""
        with self.client() as client:
            client.command(f"DROP DATABASE {self.database} SYNC")

    def topic_moved(self) -> bool:
        return not self.topic.is_drained()

    def check_exits(self, allowed: Sequence[int]) -> None:
        """Raises: AssertionError: a process ended by itself with another status."""
        wrong = [(name, status) for name, status in self.fleet.exits if status not in allowed]
        assert not wrong, f"ended by themselves: {wrong}\n{self.tails()}"

    def is_ready(self) -> bool:
        """Return whether all meters are answered from their rollups."""
        try:
            text = httpx.get(self.api() + "/metrics", timeout=30).text
        except httpx.TransportError:
            return False
        found = {
            line.split('"')[1]: float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("meterport_meters{")
        }
        return found.get("ready", 0) >= len(self.meters) and not any(
            found.get(state, 0) for state in ("creating", "settling", "filling")
        )

    def state(self) -> str:
        """Return the offsets and logs, for the message of a failure."""
        return f"ends {self.topic.ends()}\ncommits {self.topic.commits()}\n{self.tails()}"

    def tails(self) -> str:
        return "\n".join(f"--- {process.name}\n{process.tail()}" for process in self.fleet.members)

    def close(self) -> None:
        self.fleet.close()
        self.recovery.close()
        self.writer.close()
        self.topic.close()


def _variables(cluster: Cluster, protocol: str, options: Mapping[str, str]) -> dict[str, str]:
    classic = {"session.timeout.ms": str(SESSION_SECONDS * 1000), "heartbeat.interval.ms": "500"}
    return {
        "METERPORT_STORE__URL": cluster.services.store.url,
        "METERPORT_STORE__DATABASE": cluster.database,
        "METERPORT_STORE__TIMEOUT_SECONDS": "20",
        "METERPORT_KAFKA__BROKERS": cluster.services.broker.bootstrap,
        "METERPORT_KAFKA__TOPIC": cluster.topic.name,
        "METERPORT_KAFKA__GROUP": cluster.topic.group,
        "METERPORT_KAFKA__GROUP_PROTOCOL": protocol,
        "METERPORT_KAFKA__OPTIONS": json.dumps({**(classic if protocol == "classic" else {}), **options}),
        "METERPORT_PORTAL__TOKEN_KEYS": '["a key of the chaos suite"]',
        "METERPORT_INGEST__BATCH_ROWS": "20000",
        "METERPORT_INGEST__INTERVAL_SECONDS": str(cluster.services.interval_seconds),
    }


@contextmanager
def cluster(services: Services, name: str, **options: object) -> Iterator[Cluster]:
    """Yield a cluster. Its processes end with the context, and its logs are kept."""
    with ExitStack() as ends:
        opened = Cluster(services, name, **options)  # type: ignore[arg-type]
        ends.callback(opened.close)
        yield opened
