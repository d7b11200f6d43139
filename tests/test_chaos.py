"""Processes, broker and store die, stop or fail: every event is still counted once, and nothing is left over.

Broker, store and processes are real (tests/chaos). These tests cause each fault once or twice. METERPORT_TEST_LONG=1
repeats them. `make chaos` runs them longer, kills hundreds of times over millions of events, and prints the table of
docs/reliability.md. Each guard is tested too: without it, one of the same scenarios must fail.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos import embedded
from tests.chaos.cluster import Result
from tests.chaos.scenarios import all_faults, members, process_faults, service_faults, unusual_topics
from tests.chaos.services import Services
from tests.harness.long_form import LONG
from tests.harness.services import available_or_skip

ROUNDS = 3 if LONG else 1
pytestmark = pytest.mark.timeout(1800 if LONG else 600)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    services = available_or_skip(lambda: Services(tmp_path_factory.mktemp("chaos"), calm=not LONG))
    try:
        services.start()
        yield services
    finally:
        services.close()


@pytest.fixture(autouse=True)
def _whole(services: Services) -> None:
    """Repair what a failed test has left killed or misbehaving."""
    services.repair()


def exact(result: Result, runs: int = 1) -> None:
    """Check the result of a scenario, which has already compared everything, and that it ran."""
    assert (result.lost, result.doubled) == (0, 0)
    assert result.runs >= runs
    assert result.events > 0


def test_kill_at_every_step(services: Services) -> None:
    exact(process_faults.every_step(services, ROUNDS), runs=15 if LONG else 10)


@pytest.mark.only_long  # the first scenario kills members; ingest/kafka/test_shared_topic.py has both protocols
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_members_join_leave_and_die(services: Services, protocol: str) -> None:
    exact(process_faults.membership(services, ROUNDS, protocol))


@pytest.mark.only_long  # the short form parts the partitions of a half inserted plan (the last scenario)
def test_a_plan_whose_partitions_part_ways(services: Services) -> None:
    exact(process_faults.split_plans(services, 3 * ROUNDS if LONG else 1))


@pytest.mark.only_long  # test_lost_part.py lets the insert of each table fail, and test_crash.py kills in an insert
def test_an_insert_half_done_by_a_process_that_died(services: Services) -> None:
    exact(process_faults.half_inserted(services, ROUNDS))


@pytest.mark.only_long  # ingest/kafka/test_outages.py stops a process with a plan for longer than its session
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_process_that_comes_back_from_a_long_stop(services: Services, protocol: str) -> None:
    exact(process_faults.zombie(services, ROUNDS, protocol))


@pytest.mark.only_long  # engine/meters/test_fill_barrier.py and ingest/test_forged_plans.py set clocks apart
def test_clocks_apart_while_meters_are_made(services: Services) -> None:
    exact(process_faults.clocks_apart(services, ROUNDS))


def test_a_broker_killed_or_stopped(services: Services) -> None:
    exact(service_faults.broker_away(services, ROUNDS), runs=2)


def test_a_store_that_misbehaves(services: Services) -> None:
    exact(service_faults.store_misbehaves(services, ROUNDS, 30 if LONG else 3), runs=5)


@pytest.mark.only_long  # tests/test_clickhouse_killed.py kills it in the middle of inserts
def test_a_store_killed_while_it_inserts(services: Services) -> None:
    exact(service_faults.store_killed(services, 3 * ROUNDS if LONG else 1))


@pytest.mark.only_long  # ingest/test_consumer.py and ingest/kafka/test_records.py have records of each kind
def test_garbage_among_events(services: Services) -> None:
    exact(unusual_topics.garbage(services, ROUNDS))


@pytest.mark.only_long  # ingest/kafka/test_records.py adds partitions
def test_partitions_added(services: Services) -> None:
    exact(unusual_topics.partitions_added(services, ROUNDS))


@pytest.mark.only_long  # ingest/test_claims.py has two processes with the same events at once
def test_every_event_on_two_partitions_at_once(services: Services) -> None:
    exact(unusual_topics.twins(services, 2 * ROUNDS if LONG else 1))


@pytest.mark.only_long  # tests/ingest/test_consumer.py splits such a batch, and its parts are plans like any other
def test_a_batch_of_two_hundred_months(services: Services) -> None:
    exact(unusual_topics.months(services, ROUNDS))


@pytest.mark.parametrize("killed", [pytest.param(False, marks=pytest.mark.only_long), True], ids=["stopped", "killed"])
def test_a_topic_read_again_from_its_beginning(services: Services, killed: bool) -> None:
    exact(unusual_topics.replay(services, ROUNDS, killed))


@pytest.mark.only_long  # ingest/kafka/test_producer.py kills and stops the broker of a producer
def test_events_over_http_while_the_broker_is_away(services: Services) -> None:
    exact(service_faults.over_http(services, 2 * ROUNDS if LONG else 1))


def test_an_embedded_store_killed_with_its_ingest(services: Services) -> None:
    exact(embedded.embedded_killed(services, 100 if LONG else 2), runs=2)


def test_a_plan_half_inserted_whose_partition_another_member_holds(services: Services) -> None:
    exact(embedded.embedded_split_plan(services, 10 if LONG else 1))


@pytest.mark.only_long
def test_everything_at_random(services: Services) -> None:
    exact(all_faults.at_random(services, 40, 300_000), runs=8)


Broken = Callable[[Services, tuple[str, ...]], Result]


def _half(services: Services, command: tuple[str, ...]) -> Result:
    return process_faults.half_inserted(services, command=command)


def _twins(services: Services, command: tuple[str, ...]) -> Result:
    return unusual_topics.twins(services, 0, command)


def _split(services: Services, command: tuple[str, ...]) -> Result:
    return embedded.embedded_split_plan(services, command=(*command[:-1], "serve", "--port", "0"))


@pytest.mark.parametrize(
    ("guard", "scenario", "says"),
    [
        # The short form sees this guard in test_crash.py.
        pytest.param("token", _half, "[1-9][0-9]* doubled", marks=pytest.mark.only_long),
        # Without it the batches differ the second time: they have the same events in other blocks.
        ("plan", _half, "rows differ|[1-9][0-9]* doubled"),
        # The short form sees these two guards in tests/ingest/test_claims.py.
        pytest.param("duplicates", _twins, "[1-9][0-9]* doubled", marks=pytest.mark.only_long),
        pytest.param("claims", _twins, "[1-9][0-9]* doubled", marks=pytest.mark.only_long),
        # tests/ingest/test_unresolved_plans.py runs the orders of steps that this guard is for.
        pytest.param("unresolved", _split, "[1-9][0-9]* doubled", marks=pytest.mark.only_long),
    ],
)
def test_a_scenario_goes_red_without(services: Services, guard: str, scenario: Broken, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        scenario(services, members.broken(guard))
