"""`meterport doctor` names how a topic should be configured otherwise (docs/operations.md "The topic")."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.doctor.good_topic import DAY_MS, ONE_BROKER, good_topic
from tests.doctor.runs import diagnose_kafka
from tests.harness.broker import Broker

SEE = '(docs/operations.md "The topic")'


@pytest.mark.parametrize(
    ("options", "check", "status", "message"),
    [
        (
            {"cleanup_policy": "compact"},
            "topic cleanup.policy",
            "fault",
            "it is compact: compaction deletes events that were not read yet, and Meterport cannot detect that; set it "
            f"to delete {SEE}",
        ),
        pytest.param(
            {"cleanup_policy": "compact,delete"},
            "topic cleanup.policy",
            "fault",
            "it is compact,delete: compaction deletes events that were not read yet, and Meterport cannot detect that; "
            f"set it to delete {SEE}",
            marks=pytest.mark.only_long,
        ),
        (
            {"retention_ms": str(40 * DAY_MS)},
            "topic retention.ms",
            "fault",
            "records are kept for 40 days, but ingest.duplicate_window_days is 35: what is older would count twice if "
            f"it were read again; set retention.ms below the window {SEE}",
        ),
        pytest.param(
            {"retention_ms": "-1"},
            "topic retention.ms",
            "fault",
            "records are kept for ever, but ingest.duplicate_window_days is 35: what is older would count twice if "
            f"it were read again; set retention.ms below the window {SEE}",
            marks=pytest.mark.only_long,
        ),
        pytest.param(
            {"retention_ms": "7200000"},
            "topic retention.ms",
            "warning",
            "records are kept for 2 h only: events are lost if ingest is away for longer; set retention.ms to 7 days "
            f"or more {SEE}",
            marks=pytest.mark.only_long,
        ),
        pytest.param(
            {"retention_bytes": "1000000"},
            "topic retention.bytes",
            "warning",
            "a partition keeps only its last 1000000 bytes: events are lost if more arrive while ingest is away; set "
            f"retention.bytes to -1 {SEE}",
            marks=pytest.mark.only_long,
        ),
        pytest.param(
            {"max_message_bytes": "1000"},
            "topic max.message.bytes",
            "warning",
            f"it is 1000: larger events get 413; set it to 1048576 or more {SEE}",
            marks=pytest.mark.only_long,
        ),
        (
            {"min_insync_replicas": "2"},
            "topic replicas",
            "fault",
            "min.insync.replicas is 2, but replication.factor is 1: no event can be written; lower "
            f"min.insync.replicas, or add replicas {SEE}",
        ),
        pytest.param(
            {},
            "topic replicas",
            "warning",
            "replication.factor is 1 and min.insync.replicas is 1: one broker that fails can stop or lose events; use "
            f"3 and 2 {SEE}",
            marks=pytest.mark.only_long,
        ),
        pytest.param(
            {"unclean_leader_election_enable": "true"},
            "topic elections",
            "warning",
            f"unclean.leader.election.enable is true: acknowledged events can be lost; set it to false {SEE}",
            marks=pytest.mark.only_long,
        ),
    ],
    ids=lambda value: " ".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
def test_an_option_of_the_topic_that_is_wrong_is_named(
    process: Broker, tmp_path: Path, options: Mapping[str, str], check: str, status: str, message: str
) -> None:
    found = diagnose_kafka(good_topic(process, 3, **options), tmp_path)

    assert found.lines[check] == (status, message)
    assert found.status == (1 if status == "fault" else 0)
    assert {*found.faults(), *found.warnings()} == {check, *ONE_BROKER}


@pytest.mark.only_long
def test_a_topic_of_one_partition_is_a_warning(process: Broker, tmp_path: Path) -> None:
    topic = good_topic(process, 1)

    found = diagnose_kafka(topic, tmp_path)

    assert found.status == 0
    assert found.warnings()["topic partitions"] == (
        f"{topic.name} has 1 partition, so only one ingest process can work: add partitions, as many as the ingest "
        f"processes you will ever want {SEE}"
    )
