"""A plan as committed metadata: it is read back unchanged, it fits, and no other text is read as a plan."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.event_log import LATEST_STAMP_MS, Plan, Range
from ingest.kafka.plans import PLAN_PARTITIONS, Commit, from_metadata, is_durable, is_forged, to_metadata

_OFFSETS = st.integers(0, 2**63 - 1)
METADATA_BYTES = 4096  # the default of offset.metadata.max.bytes
PLAN = Plan((Range(0, 10, 20), Range(3, 5, 9)), 1_764_547_200_123)
OTHER = Plan((Range(3, 7, 12),), 1_764_547_200_456)


@st.composite
def ranges(draw: st.DrawFn, partition: int) -> Range:
    start, end = sorted(draw(st.lists(_OFFSETS, min_size=2, max_size=2, unique=True)))
    return Range(partition, start, end)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    partitions = draw(st.lists(st.integers(0, 9999), min_size=1, max_size=PLAN_PARTITIONS, unique=True))
    return Plan(
        tuple(draw(ranges(partition)) for partition in sorted(partitions)), draw(st.integers(0, LATEST_STAMP_MS))
    )


@settings(deadline=None)
@given(plans())
def test_a_plan_comes_back_from_metadata_as_it_was(plan: Plan) -> None:
    assert from_metadata(to_metadata(plan)) == plan


def test_a_plan_is_short_text() -> None:
    assert to_metadata(PLAN) == "v1;1764547200123;0:10+10,3:5+4"


def test_the_largest_plan_fits_into_what_a_broker_keeps() -> None:
    largest = 2**63 - 1
    plan = Plan(tuple(Range(9999 - at, 10**18, largest) for at in range(PLAN_PARTITIONS)), largest)

    assert len(to_metadata(plan)) == 4072
    assert len(to_metadata(plan)) <= METADATA_BYTES


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "NONE",
        "v1",
        "v1;1;",
        "v1;;0:1+2",
        "v2;1;0:1+2",
        "v1;1;0:1+2,",
        "v1;1;,0:1+2",
        "v1;1;0:1+2 ",
        "v1;1;0:1+2\n",
        "v1;1;0:1+23:4+5",
        "v1;1;0:1",
        "v1;1;0:1+0",
        "v1;1;0:-1+2",
        "v1;1;0:1+2;x",
        "v1;1;0:1+2,0:9+1",
        "v1;1;0:9223372036854775807+1",
        "v1;1;99999999999:1+2",
        "v1;١;0:1+2",
        "v1;1;" + "0:1+2," * 1000,
        '{"leaderEpoch":3}',
        "v1;4102444800000;0:1+2",
        "v1;9999999999999999999;0:1+2",
    ],
)
def test_metadata_of_somebody_else_is_no_plan(text: str | None) -> None:
    assert from_metadata(text) is None


@pytest.mark.parametrize(
    ("text", "forged"),
    [
        ("v1;4102444799999;0:1+2", False),
        ("v1;4102444800000;0:1+2", True),
        ("v1;9999999999999999999;0:1+2", True),
        ("v1;1;0:9223372036854775807+1", True),
        ("v1;1;3000000000:1+2", True),
        ("v1;1;0:1+0", True),
        ("v1;1;0:1+2,0:9+1", True),
        ("v2;1;0:1+2", False),
        ("somebody else's", False),
        ("", False),
        (None, False),
    ],
)
def test_a_text_like_a_plan_that_no_process_writes_is_told_from_others(text: str | None, forged: bool) -> None:
    """S8."""
    assert is_forged(text) is forged


@settings(deadline=None)
@given(st.text(alphabet=string.digits + "v;:+, ", max_size=60).map(lambda text: "v1;" + text))
def test_metadata_like_ours_is_a_plan_to_the_letter_or_none(text: str) -> None:
    plan = from_metadata(text)

    assert plan is None or from_metadata(to_metadata(plan)) == plan


@pytest.mark.parametrize(
    ("commits", "made"),
    [
        ({0: Commit(10, PLAN), 3: Commit(5, PLAN)}, True),
        ({0: Commit(20, None), 3: Commit(5, PLAN)}, True),
        ({0: Commit(10, PLAN), 3: Commit(9, None)}, True),
        ({0: Commit(10, PLAN), 3: Commit(9, Plan((Range(3, 9, 12),), 7))}, True),
        ({0: Commit(90, None), 3: Commit(50, None)}, True),
        ({0: Commit(10, PLAN), 3: Commit(5, None)}, False),
        ({0: Commit(10, PLAN), 3: Commit(-1, None)}, False),
        ({0: Commit(10, PLAN), 3: Commit(7, OTHER)}, False),
        ({0: Commit(10, None), 3: Commit(5, None)}, False),
        ({0: Commit(10, Plan(PLAN.ranges, 7)), 3: Commit(5, PLAN)}, False),
        ({0: Commit(10, PLAN)}, False),
    ],
    ids=[
        "on-both",
        "first-is-stored",
        "second-is-stored",
        "second-is-on-its-next-plan",
        "both-are-stored",
        "second-was-reset",
        "second-has-no-commit",
        "second-was-planned-anew",
        "on-neither",
        "stamped-anew",
        "second-is-unknown",
    ],
)
def test_a_plan_was_made_if_each_partition_carries_it_or_is_past_it(commits: dict[int, Commit], made: bool) -> None:
    assert is_durable(PLAN, commits) is made
