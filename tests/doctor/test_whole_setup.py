"""`meterport doctor` on a ClickHouse server and a broker together: with all right it exits 0, and it writes nothing."""

from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._resource import ResourceType

from engine.instants import milliseconds, utc_now
from engine.store.migrations import migrate
from engine.store.opening import open_store
from ingest.kafka.group_question import ask_group
from ingest.kafka.log import KafkaLog
from ingest.kafka.topic_queries import query_topic_id
from ingest.stored_positions import StoredPositions
from meterport.doctor.store_checks import RIGHTS
from tests.doctor.good_topic import ONE_BROKER, good_topic
from tests.doctor.runs import KEYS, diagnose, diagnose_as_json
from tests.harness.acls import deny, grant
from tests.harness.broker import Broker, create_topic
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.command import meterport
from tests.harness.own_clickhouse import server
from tests.harness.topics import WAIT_SECONDS, Topic, assigned_partitions, wait_for

__all__ = ["server"]  # a fixture of another file

DATABASE = "meterport"
SEE = '(docs/operations.md "Gaps")'


@pytest.fixture
def topic(process: Broker) -> Topic:
    """Return a topic with three records in partition 0, of which the group has stored none."""
    made = good_topic(process, 3)
    made.put(b"a", b"b", b"c", at_ms=milliseconds(utc_now()))  # the topic does not keep old records
    made.commit({0: (0, "")})
    return made


@pytest.fixture
def variables(server: ClickHouse, topic: Topic, tmp_path: Path) -> dict[str, str]:
    """Return the settings of a process whose store has all tables, and whose user has exactly the rights it needs."""
    server.restrict(f"GRANT {', '.join([*RIGHTS, 'CREATE DATABASE'])} ON {DATABASE}.*")
    settings = server_settings(server.url, tmp_path, database=DATABASE)
    store = open_store(settings)
    migrate(store, settings)
    store.close()
    return {
        **KEYS,
        "METERPORT_DATA_DIR": str(tmp_path / "data"),
        "METERPORT_STORE__URL": server.url,
        "METERPORT_KAFKA__BROKERS": topic.bootstrap,
        "METERPORT_KAFKA__TOPIC": topic.name,
        "METERPORT_KAFKA__GROUP": topic.name,
    }


def _note(server: ClickHouse, topic: Topic, directory: Path, position: int) -> None:
    store = open_store(server_settings(server.url, directory, database=DATABASE))
    topic_id = query_topic_id(topic.settings())
    StoredPositions(store).note(topic.name, topic_id, {0: position})
    store.close()


def _everything(server: ClickHouse, topic: Topic, directory: Path) -> dict[str, object]:
    """Return all that a process could change: tables and their rows, topics and their records, groups, and files."""
    store = open_store(server_settings(server.url, directory, database=DATABASE))
    tables = store.rows(
        "SELECT database, name, uuid, total_rows, metadata_modification_time FROM system.tables "
        "WHERE database != 'system' ORDER BY ALL"
    )
    databases = store.rows("SELECT name, uuid FROM system.databases ORDER BY name")
    store.close()
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    topics = {name: len(found.partitions) for name, found in admin.list_topics(timeout=10).topics.items()}
    places = {TopicPartition(topic.name, number): OffsetSpec.latest() for number in range(3)}  # type: ignore[no-untyped-call]
    ends = [found.result(WAIT_SECONDS).offset for found in admin.list_offsets(places).values()]
    groups = sorted(group.group_id for group in admin.list_consumer_groups().result(WAIT_SECONDS).valid)
    group = admin.describe_consumer_groups([topic.name])[topic.name].result(WAIT_SECONDS)
    asked = [ConsumerGroupTopicPartitions(group) for group in groups]
    committed = {
        question.group_id: admin.list_consumer_group_offsets([question])[question.group_id].result(WAIT_SECONDS)
        for question in asked
    }
    return {
        "tables": tables,
        "databases": databases,
        "topics": topics,
        "ends": ends,
        "group": (group.state, group.members),
        "committed": {name: found.topic_partitions for name, found in committed.items()},
        "files": sorted(path.relative_to(directory) for path in directory.rglob("*")),
    }


def test_with_all_right_it_exits_0_and_writes_nothing(
    server: ClickHouse, topic: Topic, variables: dict[str, str], tmp_path: Path
) -> None:
    before = _everything(server, topic, tmp_path)

    found = diagnose(variables)

    assert (found.status, found.faults(), {*found.warnings()}, found.skipped()) == (0, {}, ONE_BROKER, {})
    assert found.lines["gaps"] == ("ok", f"the store has everything that group {topic.name} has passed")
    assert found.errors == ""
    assert _everything(server, topic, tmp_path) == before


@pytest.mark.only_long
def test_what_does_not_exist_yet_is_not_made(
    server: ClickHouse, topic: Topic, variables: dict[str, str], tmp_path: Path
) -> None:
    server.restrict()
    before = _everything(server, topic, tmp_path)
    new = {"STORE__DATABASE": "new", "KAFKA__TOPIC": "new", "KAFKA__GROUP": "new", "KAFKA__DEAD_LETTER_TOPIC": "dead"}

    found = diagnose(variables | {f"METERPORT_{name}": value for name, value in new.items()})

    assert (found.status, found.faults(), found.warnings(), found.skipped()) == (0, {}, {}, {})
    assert found.lines["store database"] == ("ok", "new does not exist; the first start creates it")
    assert _everything(server, topic, tmp_path) == before


@pytest.mark.parametrize("protocol", ["consumer", pytest.param("classic", marks=pytest.mark.only_long)])
def test_it_may_run_beside_a_member_of_the_group(topic: Topic, variables: dict[str, str], protocol: str) -> None:
    with closing(KafkaLog(topic.settings(protocol))) as log:
        wait_for(lambda: assigned_partitions(log) == [0, 1, 2])
        assigned = log.assignments

        found = diagnose(variables)

        assert (found.status, found.faults()) == (0, {})
        assert found.lines["kafka group"] == ("ok", f"this user may read as {topic.name}")
        assert assigned_partitions(log) == [0, 1, 2]
        assert log.assignments == assigned


def test_text_and_json_say_the_same(variables: dict[str, str]) -> None:
    missing = variables | {"METERPORT_STORE__DATABASE": "another"}

    as_text, as_json = diagnose(missing), diagnose_as_json(missing)

    assert as_text == as_json
    assert as_json.status == 1
    assert {status for status, _ in as_json.lines.values()} == {"ok", "warning", "fault", "skipped"}


def test_a_wrong_setting_exits_with_78_before_any_check(variables: dict[str, str]) -> None:
    wrong = meterport("doctor", variables=variables | {"METERPORT_KAFKA__TOPC": "x"})
    lone = {name: value for name, value in variables.items() if "KAFKA" not in name}
    needed = meterport("doctor", "--for", "ingest", variables=lone)

    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (
        78,
        "",
        "meterport: METERPORT_KAFKA__TOPC: no such setting\n",
    )
    assert (needed.returncode, needed.stdout, needed.stderr) == (
        78,
        "",
        "meterport: kafka.brokers: `meterport ingest` needs it; without it, use `meterport serve`\n",
    )


# --- what each command needs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "operation", "right", "commands"),
    [
        (ResourceType.TOPIC, AclOperation.WRITE, "Write on topic", {"serve", "api"}),
        pytest.param(
            ResourceType.TOPIC, AclOperation.READ, "Read on topic", {"serve", "ingest"}, marks=pytest.mark.only_long
        ),
        pytest.param(
            ResourceType.GROUP, AclOperation.READ, "Read on group", {"serve", "ingest"}, marks=pytest.mark.only_long
        ),
    ],
)
def test_a_right_is_missed_only_for_the_commands_that_need_it(
    process: Broker,
    variables: dict[str, str],
    kind: ResourceType,
    operation: AclOperation,
    right: str,
    commands: set[str],
) -> None:
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    deny(admin, kind, operation)
    try:
        wait_for(lambda: diagnose(variables).status == 1)
        found = {command: diagnose(variables, "--for", command) for command in ("serve", "api", "ingest")}
    finally:
        grant(admin, kind, operation)

    assert {command for command, diagnosis in found.items() if right in str(diagnosis.faults())} == commands
    assert {command for command, diagnosis in found.items() if diagnosis.status == 1} == commands


@pytest.mark.only_long
def test_a_right_on_the_topic_of_dead_letters_is_missed(process: Broker, variables: dict[str, str]) -> None:
    create_topic(process.bootstrap, "dead-letters", 1)
    with_topic = variables | {"METERPORT_KAFKA__DEAD_LETTER_TOPIC": "dead-letters"}
    assert diagnose(with_topic).status == 0
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    deny(admin, ResourceType.TOPIC, AclOperation.WRITE)
    try:
        wait_for(lambda: diagnose(with_topic, "--for", "ingest").status == 1)
        found = diagnose(with_topic, "--for", "ingest")
    finally:
        grant(admin, ResourceType.TOPIC, AclOperation.WRITE)

    assert found.faults() == {
        "kafka rights": "this user lacks Write on topic dead-letters, needed for ingest: add ACLs (docs/settings.md "
        '"TLS and SASL")'
    }


# --- the group and the store ------------------------------------------------------------------------------------------


def _gaps(variables: dict[str, str], **kafka: str) -> tuple[str, str]:
    more = {f"METERPORT_KAFKA__{name.upper()}": value for name, value in kafka.items()}
    return diagnose(variables | more).lines["gaps"]


def test_offsets_ahead_of_the_store_are_named(
    server: ClickHouse, topic: Topic, variables: dict[str, str], tmp_path: Path
) -> None:
    _note(server, topic, tmp_path, 1)
    topic.commit({0: (3, "")})

    read_again, trusted = _gaps(variables), _gaps(variables, trust_offsets="true")

    assert read_again == (
        "warning",
        f"partition 0: group {topic.name} has passed offsets 1 to 2, which this store lacks: they would be read again; "
        f"is it the right store.url, store.database and kafka.group? {SEE}",
    )
    assert trusted == (
        "warning",
        "partition 0: offsets 1 to 2 are not in this store, and would not be read, because kafka.trust_offsets is set "
        f"{SEE}",
    )
    _note(server, topic, tmp_path, 3)
    assert _gaps(variables)[0] == "ok"


@pytest.mark.only_long
def test_an_empty_store_beside_a_group_that_is_ahead_is_named(topic: Topic, variables: dict[str, str]) -> None:
    topic.commit({0: (2, "")})
    empty = variables | {"METERPORT_STORE__DATABASE": "meterport"}

    found = diagnose(empty)

    assert found.status == 0
    assert found.warnings()["gaps"].startswith(
        f"partition 0: group {topic.name} has passed offsets 0 to 1, which this "
    )


@pytest.mark.only_long
def test_records_that_were_deleted_before_they_were_stored_are_named(
    server: ClickHouse, topic: Topic, variables: dict[str, str], tmp_path: Path
) -> None:
    _note(server, topic, tmp_path, 1)
    topic.commit({0: (3, "")})
    topic.delete_before({0: 2})

    assert _gaps(variables) == (
        "warning",
        "partition 0: offsets 1 to 1 were deleted from the topic before they were stored: have producers send them "
        f"again {SEE}",
    )


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_coordinator_that_does_not_answer_does_not_end_the_process(process: Broker, topic: Topic) -> None:
    """librdkafka issue 4605: the client that asks aborts its process."""
    process.stop_signal()
    try:
        answer = ask_group(topic.settings(), 3, 0.5)
    finally:
        process.continue_()

    assert answer.failure
    assert answer.granted is None
