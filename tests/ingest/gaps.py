"""Fixtures for the tests of gaps: the count of gaps, and one group protocol, because leaders report gaps."""

import pytest

from engine import metrics


@pytest.fixture
def protocol() -> str:
    return "consumer"


@pytest.fixture(autouse=True)
def gaps_before() -> float:
    return gaps()


def gaps() -> float:
    return float(metrics.LOG_GAPS._value.get())
