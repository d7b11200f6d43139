"""Whatever dies, stops or fails between the topic and the meters: every event is counted once, nothing is left over.

Brokers, store and processes are real (tests/chaos). Short here: each fault once or twice. METERPORT_TEST_LONG=1 repeats
them; `make chaos` runs them longer still, kills hundreds of times over millions of events, and prints the table of
docs/reliability.md. The guards are seen red as well: without each of them one of the same scenarios fails.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.chaos import alone, scenarios
from tests.chaos.cluster import Ground, Result
from tests.harness.services import available_or_skip

LONG = os.environ.get("METERPORT_TEST_LONG") == "1"
ROUNDS = 3 if LONG else 1
BOTH = ["classic", "consumer"]  # group protocols; the short form has one of them for each scenario
pytestmark = pytest.mark.timeout(1800 if LONG else 600)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = available_or_skip(lambda: Ground(tmp_path_factory.mktemp("chaos")))
    try:
        ground.start()
        yield ground
    finally:
        ground.close()


@pytest.fixture(autouse=True)
def _whole(ground: Ground) -> None:
    """Start what a test that failed has left killed or misbehaving."""
    ground.mend()


def exact(result: Result, runs: int = 1) -> None:
    """The scenario compared everything; here is what it says, and that it was one."""
    assert (result.lost, result.doubled) == (0, 0)
    assert result.runs >= runs
    assert result.events > 0


def test_kill_at_every_step(ground: Ground) -> None:
    exact(scenarios.every_step(ground, ROUNDS), runs=15)


@pytest.mark.parametrize("protocol", BOTH if LONG else ["consumer"])
def test_members_join_leave_and_die(ground: Ground, protocol: str) -> None:
    exact(scenarios.membership(ground, ROUNDS, protocol))


def test_a_plan_whose_partitions_part_ways(ground: Ground) -> None:
    exact(scenarios.plans_that_part(ground, 3 * ROUNDS if LONG else 1))


def test_an_insert_half_done_by_a_process_that_died(ground: Ground) -> None:
    exact(scenarios.half_inserted(ground, ROUNDS))


@pytest.mark.parametrize("protocol", BOTH if LONG else ["classic"])
def test_a_process_that_comes_back_from_a_long_stop(ground: Ground, protocol: str) -> None:
    exact(scenarios.zombie(ground, ROUNDS, protocol))


def test_clocks_apart_while_meters_are_made(ground: Ground) -> None:
    exact(scenarios.clocks_apart(ground, ROUNDS))


def test_a_broker_killed_or_stopped(ground: Ground) -> None:
    exact(scenarios.broker_away(ground, ROUNDS), runs=2)


def test_a_store_that_misbehaves(ground: Ground) -> None:
    exact(scenarios.store_misbehaves(ground, ROUNDS, 30 if LONG else 3), runs=5)


def test_a_store_killed_while_it_inserts(ground: Ground) -> None:
    exact(scenarios.store_killed(ground, 3 * ROUNDS if LONG else 2), runs=2)


def test_garbage_among_events(ground: Ground) -> None:
    exact(scenarios.garbage(ground, ROUNDS))


def test_partitions_added(ground: Ground) -> None:
    exact(scenarios.partitions_added(ground, ROUNDS))


def test_every_event_on_two_partitions_at_once(ground: Ground) -> None:
    exact(scenarios.twins(ground, 2 * ROUNDS), runs=2)


def test_a_batch_of_two_hundred_months(ground: Ground) -> None:
    exact(scenarios.months(ground, ROUNDS))


@pytest.mark.parametrize("killed", [False, True], ids=["after a stop", "after a kill"])
def test_a_topic_read_again_from_its_beginning(ground: Ground, killed: bool) -> None:
    exact(scenarios.replay(ground, ROUNDS, killed))


def test_events_over_http_while_the_broker_is_away(ground: Ground) -> None:
    exact(scenarios.over_http(ground, 2 * ROUNDS if LONG else 1))


def test_an_embedded_store_killed_with_its_ingest(ground: Ground) -> None:
    exact(alone.alone_killed(ground, 100 if LONG else 3), runs=3)


def test_a_plan_half_inserted_whose_partition_another_member_holds(ground: Ground) -> None:
    exact(alone.alone_parted(ground, 10 if LONG else 1))


def test_everything_at_random(ground: Ground) -> None:
    exact(scenarios.at_random(ground, 40 if LONG else 8, 300_000 if LONG else 30_000), runs=8)


Broken = Callable[[Ground, tuple[str, ...]], Result]


def _half(ground: Ground, command: tuple[str, ...]) -> Result:
    return scenarios.half_inserted(ground, command=command)


def _twins(ground: Ground, command: tuple[str, ...]) -> Result:
    return scenarios.twins(ground, 0, command)


def _parted(ground: Ground, command: tuple[str, ...]) -> Result:
    return alone.alone_parted(ground, command=(*command[:-1], "serve", "--port", "0"))


@pytest.mark.parametrize(
    ("guard", "scenario", "says"),
    [
        ("token", _half, "[1-9][0-9]* doubled"),
        ("plan", _half, "rows differ|[1-9][0-9]* doubled"),  # cut anew: the same events in other blocks
        ("duplicates", _twins, "[1-9][0-9]* doubled"),
        ("claims", _twins, "[1-9][0-9]* doubled"),
        ("unresolved", _parted, "[1-9][0-9]* doubled"),
    ],
)
def test_a_scenario_goes_red_without(ground: Ground, guard: str, scenario: Broken, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        scenario(ground, scenarios.broken(guard))
