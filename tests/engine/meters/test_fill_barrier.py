"""A fill waits until its views are due, and until no planned batch can change what it reads."""

from datetime import timedelta

import pytest

from engine.instants import milliseconds
from engine.meters.meter import MeterState
from engine.meters.registry import LEAD
from ingest.event_log import Plan, Range
from tests.engine.meters.conftest import TOKENS, Metering, events

pytestmark = pytest.mark.thorough


def test_it_waits_until_its_views_are_due(metering: Metering) -> None:
    metering.take(events(0, 10))
    metering.create(TOKENS)
    metering.pass_time(LEAD.total_seconds() - 0.001)

    assert not metering.filler().step()
    assert metering.state(TOKENS) is MeterState.SETTLING

    metering.pass_time(0.001)
    assert metering.filler().step()
    assert metering.state(TOKENS) is MeterState.FILLING


def test_it_waits_while_a_batch_stamped_earlier_is_planned_and_goes_on_afterwards(metering: Metering) -> None:
    metering.take(events(0, 10))
    metering.append(events(100, 10))
    planned = metering.log.plan((Range(0, 11, 21),), milliseconds(metering.now))  # then the process dies
    metering.create(TOKENS)
    metering.pass_time(60)
    filler = metering.filler()

    assert [filler.step(), filler.step()] == [False, False]
    assert metering.state(TOKENS) is MeterState.SETTLING

    metering.restart()  # the next process makes a new plan: the old one was not claimed before the barrier
    metering.drain()
    filler = metering.filler()
    while filler.step():
        pass
    assert metering.state(TOKENS) is MeterState.READY
    assert metering.log.pending() == []
    assert metering.store.rows(f"SELECT count() FROM events WHERE stored_at = {_instant(planned)}") == [(10,)]
    metering.check(TOKENS)


def test_a_batch_stamped_after_the_views_took_over_holds_up_the_last_step_alone(metering: Metering) -> None:
    """R16b: the fill continues, but the rollup answers only when it contains the whole batch."""
    metering.take(events(0, 10))
    metering.create(TOKENS)
    metering.pass_time()
    metering.append(events(100, 10))
    metering.log.plan((Range(0, 11, 21),), milliseconds(metering.now))
    filler = metering.filler()

    while filler.step():
        pass
    assert metering.state(TOKENS) is MeterState.FILLING
    metering.restart()
    filler = metering.filler()
    while filler.step():
        pass

    assert metering.state(TOKENS) is MeterState.READY
    metering.check(TOKENS)


@pytest.mark.parametrize("restarted", [False, True], ids=["the same process", "the next process"])
def test_no_batch_is_stamped_before_the_views_once_the_fill_began_even_if_the_clock_is_set_back(
    metering: Metering, restarted: bool
) -> None:
    metering.take(events(0, 10))
    created = metering.create(TOKENS)
    metering.pass_time()
    metering.filler().step()
    metering.now -= timedelta(hours=1)
    if restarted:
        metering.restart()

    metering.take(events(100, 10))
    metering.pass_time(2 * 3600)
    filler = metering.filler()
    while filler.step():
        pass

    ((newest,),) = metering.store.rows("SELECT toUnixTimestamp64Milli(max(stored_at)) FROM events")
    assert newest == milliseconds(created.visible_from)
    metering.check(TOKENS)


def _instant(plan: Plan) -> str:
    return f"fromUnixTimestamp64Milli({plan.stored_ms}, 'UTC')"
