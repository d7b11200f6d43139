"""Without broker or store each command reports it, reports what still works, and recovers by itself (N22, N22c).

These tests have their own broker and store, because they stop and kill them. The three commands (`serve`, `ingest`,
`api`) run in this process, as one group on one topic. They differ in which services they offer.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from engine import metrics
from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.errors import StoreUnavailable
from engine.health import Ability
from meterport.process import Process
from tests.harness.alerts import check_fire, scrape
from tests.harness.api_client import ApiClient
from tests.harness.broker import Broker, create_topic
from tests.harness.clickhouse import ClickHouse
from tests.harness.own_broker import hang, process
from tests.harness.services import available_or_skip
from tests.harness.topics import Topic, wait_for

__all__ = ["process"]  # a fixture of another file

UNREADY_SECONDS = 4
LAG = "MeterportLagUnknown"  # the lag is unknown while the reader waits for a store that hangs
COMMANDS: dict[str, dict[str, Any]] = {
    "api": {"ingests": False},
    "ingest": {"serves": False},
    "serve": {},
}


@dataclass
class Fleet:
    """The three commands and their broker, store and settings."""

    broker: Broker
    store: ClickHouse
    topic: Topic
    services: dict[str, Process]
    portal: BlockingPortal

    def ready(self, command: str, asked: str = "") -> tuple[int, dict[str, Any]]:
        """Return the status and body of /readyz on the telemetry port."""
        answer = ApiClient(self.portal, self.services[command].telemetry_app()).get(
            "/readyz", params={"for": asked} if asked else {}
        )
        return answer.status_code, answer.json()

    def away(self, command: str) -> set[str]:
        status, body = self.ready(command)
        return {away["name"] for away in body["extensions"]["away"]} if status == 503 else set()

    def wait_until_ready(self) -> None:
        wait_for(lambda: all(self.ready(command)[0] == 200 for command in COMMANDS), self.report)

    def report(self) -> object:
        return {command: self.ready(command) for command in COMMANDS}

    def send(self, *numbers: int) -> None:
        self.topic.put(*[_event(number) for number in numbers])

    def stored(self) -> int:
        """Return how many events are stored, or -1 while the store is busy."""
        try:
            return int(self.services["serve"].store.rows("SELECT count() FROM events")[0][0])
        except StoreUnavailable:
            return -1


def _event(number: int) -> bytes:
    return json.dumps({"specversion": "1.0", "id": f"{number}", "source": "s", "type": "t", "subject": "u"}).encode()


@pytest.fixture(scope="module")
def fleet(process: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    metrics.LAST_GAP.set(0)  # another test of this worker may have found a gap
    directory = tmp_path_factory.mktemp("health")
    topic = Topic(process.bootstrap, 3)
    create_topic(process.bootstrap, topic.name, 3)
    with ExitStack() as ends:
        store = ClickHouse(directory / "store")
        ends.callback(store.kill)
        store.start()
        portal = ends.enter_context(start_blocking_portal())
        services = {}
        for command, does in COMMANDS.items():
            services[command] = service = Process(_settings(store, topic, directory), **does)
            ends.callback(service.stop)
            service.start()
        made = Fleet(process, store, topic, services, portal)
        made.wait_until_ready()
        yield made
        store.behave()


def _settings(store: ClickHouse, topic: Topic, directory: Path) -> Settings:
    overrides = {
        "data_dir": directory,
        "server": {"unready_seconds": UNREADY_SECONDS},
        "store": {"url": store.url, "timeout_seconds": 10},
        "kafka": {
            "brokers": topic.bootstrap,
            "topic": topic.name,
            "group": topic.name,
            "produce_seconds": 2,
            "options": {"socket.timeout.ms": "1000"},
        },
        "portal": {"token_keys": ["0123456789abcdef0123"]},
    }
    return load_settings(overrides=overrides)


def _check_alerts(*names: str, others: str = "") -> None:
    """Check that exactly these alerts fire if the current state continues. Another step of ingest fails first.

    A moment in which the brokers are slow is no state: the lag is unknown for as long as this moment takes.
    """
    began, first = time.monotonic(), scrape()
    failures, second = _failures(), first
    is_failing = "MeterportIngestFails" in names

    def is_the_state() -> bool:
        nonlocal second
        counted = _failures()  # before the scrape, which then has it
        second = scrape()
        is_unknown = "\nmeterport_log_records NaN\n" in second
        return (
            time.monotonic() > began + 2
            and (not is_failing or counted > failures)
            and (LAG in others or is_unknown == (LAG in names))
        )

    wait_for(is_the_state, lambda: second)
    seconds = time.monotonic() - began
    available_or_skip(lambda: check_fire(set(names), first, second, seconds, others))


def _failures() -> float:
    return _sample("meterport_ingest_failures_total")


def _sample(name: str, **labels: str) -> float:
    value = metrics.REGISTRY.get_sample_value(name, labels)
    assert value is not None
    return value


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_store_that_is_away_is_seen_and_events_are_taken_nevertheless(fleet: Fleet, how: str) -> None:
    """N22c: before, /readyz was 200 while every query was answered 503."""
    fleet.store.misbehave("refuse") if how == "refuses" else fleet.store.stop_signal()

    wait_for(lambda: all("store" in fleet.away(command) for command in COMMANDS), fleet.report)
    wait_for(lambda: math.isnan(_sample("meterport_meters", state="ready")))
    assert _sample("meterport_dependency_silent_seconds", dependency="store") >= UNREADY_SECONDS
    _, body = fleet.ready("api")
    assert body["extensions"]["works"] == ["events"]
    assert "the store does not answer" in body["detail"]
    assert fleet.ready("api", "events")[0] == fleet.ready("serve", "events")[0] == 200
    assert fleet.ready("api", "queries")[0] == fleet.ready("ingest", "any")[0] == 503
    wait_for(lambda: fleet.services["api"].appender.append([_event(1)], 1).exception(30) is None)
    _check_alerts("MeterportNotReady", "MeterportStoreSilent", "MeterportWorkFails", "MeterportIngestFails", others=LAG)

    fleet.store.behave() if how == "refuses" else fleet.store.continue_()

    fleet.wait_until_ready()
    wait_for(lambda: _sample("meterport_meters", state="ready") == 0)


@pytest.mark.parametrize("how", ["killed", pytest.param("stopped", marks=pytest.mark.only_long)])
def test_brokers_that_are_away_are_seen_and_questions_are_answered_nevertheless(fleet: Fleet, how: str) -> None:
    """N22: before, /readyz was 200 and the lag 0 for minutes."""
    fleet.broker.kill() if how == "killed" else hang(fleet.broker)

    wait_for(lambda: all(fleet.away(command) for command in COMMANDS), fleet.report)
    wait_for(lambda: "kafka-consumer" in fleet.away("serve") & fleet.away("ingest"), fleet.report)
    wait_for(lambda: "kafka-producer" in fleet.away("serve") & fleet.away("api"), fleet.report)
    wait_for(lambda: math.isnan(_sample("meterport_log_records")))
    assert math.isnan(_sample("meterport_log_partitions"))
    assert fleet.ready("api", "queries")[0] == fleet.ready("serve", "any")[0] == 200
    assert fleet.ready("api", "events")[0] == fleet.ready("ingest")[0] == 503
    _check_alerts("MeterportNotReady", "MeterportBrokersSilent", "MeterportLagUnknown", "MeterportIngestFails")

    fleet.broker.start() if how == "killed" else fleet.broker.continue_()

    fleet.wait_until_ready()
    wait_for(lambda: fleet.stored() >= 0)
    before = fleet.stored()
    fleet.send(*range(before + 1000, before + 1002))
    wait_for(lambda: fleet.stored() >= before + 2, fleet.report)
    wait_for(lambda: _sample("meterport_log_records") == 0)


def test_readiness_does_not_ask_the_store(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may send probes, as often as they like."""
    asked: list[str] = []

    def note(call: str, *_: object, **__: object) -> list[object]:
        asked.append(call)
        return []

    service = fleet.services["api"]
    for call in ("rows", "query_bytes", "arrow", "ping"):
        monkeypatch.setattr(service.store, call, partial(note, call))
    monkeypatch.setattr(service.registry, "refresh", lambda: None)
    asked.clear()

    assert [fleet.ready("api")[0] for _ in range(50)] == [200] * 50

    assert asked.count("ping") == 0
    assert service.readiness().works == [Ability.EVENTS, Ability.QUERIES]


def test_no_alert_fires_while_all_is_well(fleet: Fleet) -> None:
    fleet.wait_until_ready()

    _check_alerts()


def test_only_a_process_that_answers_reads_revocations(fleet: Fleet) -> None:
    reads = {command: "revocations" in service.workers.pulses for command, service in fleet.services.items()}

    assert reads == {"serve": True, "api": True, "ingest": False}


def test_a_scrape_has_what_the_process_needs_by_name(fleet: Fleet) -> None:
    text = scrape()

    for name in ("kafka-producer", "kafka-keeper", "consumer", "refresher", "revocations", "filler", "store-probe"):
        assert f'meterport_thread_alive{{thread="{name}"}} 1.0' in text
    for name in ("store", "kafka-producer", "kafka-consumer"):
        assert f'meterport_dependency_silent_seconds{{dependency="{name}"}}' in text
    assert fleet.services["serve"].workers.failure is None
