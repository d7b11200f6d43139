"""The quick fold of the chaos suite equals the oracle: the same rows for the same events, for every meter and query."""

from itertools import islice

import pytest

from tests.chaos.check import queries
from tests.chaos.fold import Fold
from tests.chaos.load import FIRST_BURST, Numbers, events
from tests.harness import oracle
from tests.harness.crash import METERS


@pytest.fixture(scope="module")
def folds() -> tuple[Fold, oracle.Fold]:
    """Return both folds of events over four days that begin with a burst over 200 months."""
    numbers, slow = Numbers(), oracle.Fold()
    for sent in islice(events(7, numbers, FIRST_BURST), 3000):
        slow.add(sent.for_oracle())
    return Fold(numbers), slow


@pytest.mark.parametrize("meter", METERS, ids=lambda meter: meter.slug)
def test_the_quick_fold_answers_as_the_oracle(meter: oracle.Meter, folds: tuple[Fold, oracle.Fold]) -> None:
    quick, slow = folds
    for query in queries(meter):
        assert quick.usage(meter, query) == slow.usage(meter, query)


def test_a_load_has_no_two_events_of_one_time() -> None:
    numbers = Numbers()
    for _ in islice(events(1, numbers), 200_000):
        pass

    assert len(set(numbers.at_ms)) == 200_000
