"""Scenarios in which the broker or the store is killed, stops or misbehaves, one function each.

`rounds`: how often the fault is repeated. tests/chaos/scenarios/members.py says what all scenarios have in common.
"""

import time
from random import Random

from tests.chaos.cluster import Result, cluster
from tests.chaos.http_sender import HttpSender
from tests.chaos.recovery import wait_until
from tests.chaos.scenarios.members import recover, started
from tests.chaos.services import Services
from tests.harness.clickhouse_faults import FaultKind
from tests.harness.crash import METERS

FAULTS: tuple[FaultKind, ...] = ("refuse", "stall", "reset", "lose-answer", "error")


def broker_away(services: Services, rounds: int = 1) -> Result:
    """Kill the broker and start it again, and stop it for fifteen seconds."""
    with cluster(services, "broker", meters=METERS[:3]) as run:
        started(run, 2, rate=1000)
        for _ in range(rounds):
            services.broker.kill()
            time.sleep(2)
            services.broker.start()
            recover(run)
            services.broker.stop_signal()
            time.sleep(15)
            services.broker.continue_()
            recover(run)
            run.runs += 2
        return run.finish("broker killed, broker stopped for 15 s")


def store_misbehaves(services: Services, rounds: int = 1, seconds: float = 5) -> Result:
    """Let the store refuse, stall, reset, lose its answers and fail, for all statements or only for inserts."""
    with cluster(services, "store", meters=METERS[:3]) as run:
        started(run, 2, rate=1000)
        for kind in FAULTS * rounds:
            struck = services.store.struck(kind)
            services.store.misbehave(kind, seconds=seconds, inserts_only=kind == "lose-answer", probability=0.8)
            time.sleep(seconds)
            services.store.behave()
            recover(run)
            assert kind == "refuse" or services.store.struck(kind) > struck, f"{kind} hit no statement"
            run.runs += 1
        return run.finish("store refuses, stalls, resets, loses answers, fails")


def store_killed(services: Services, rounds: int = 3, command: tuple[str, ...] | None = None) -> Result:
    """Kill the store while it inserts, sometimes together with an ingest process, and start both again."""
    random = Random(2)  # noqa: S311
    with cluster(services, "store_killed", meters=METERS[:3], command=command) as run:
        members = started(run, 2, rate=2000)
        for turn in range(rounds):
            time.sleep(random.uniform(0.5, 1.5))
            services.store.kill()
            if turn % 2:
                run.fleet.kill(random.choice(members))
            services.store.start()
            recover(run)
            run.runs += 1
        return run.finish("store killed -9 while it inserts", allowed=(1,))


def over_http(services: Services, rounds: int = 1) -> Result:
    """Send events to `meterport api` while the broker is down: it answers 503 with Retry-After until it answers 204."""
    with cluster(services, "http", meters=METERS[:3], variables={"METERPORT_KAFKA__PRODUCE_SECONDS": "2"}) as run:
        run.create(*run.meters)
        run.ingest(1)
        for turn in range(rounds):
            sender = HttpSender(run)
            sender.start()
            time.sleep(2)
            if turn % 2:
                services.broker.stop_signal()
            else:
                services.broker.kill()
            refused = sender.refused
            wait_until(lambda refused=refused, sender=sender: sender.refused > refused + 1, "nothing was refused")  # type: ignore[misc]
            if turn % 2:
                services.broker.continue_()
            else:
                services.broker.start()
            run.recovery.fault_ended()
            run.fleet.kill(run.api_process)
            time.sleep(3)
            sender.finish()
            run.recovery.wait()
            run.runs += 1
        return run.finish("events over HTTP while the broker is away")
