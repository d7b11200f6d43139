"""The summary of an import is the same without a server, and with Kafka as the event log."""

from pathlib import Path

from meterport.client import ApiClient
from tests.harness.broker import Kafka
from tests.harness.command import meterport
from tests.harness.server import Server
from tests.harness.topics import Topic, require_real_broker
from tests.ingest.importer.summaries import AT, meter, of_stored, told, usage


def test_without_a_server_the_summary_is_the_same(tmp_path: Path) -> None:
    path, data_dir = tmp_path / "e.csv", ("--data-dir", str(tmp_path / "data"))
    path.write_text(f"ts,who,tokens\n{AT},a,1\n{AT},b,many\n")
    tokens = ("--event-type=own", "--aggregation=SUM", "--value-property=$.tokens")
    meterport("meters", "create", "tokens", *tokens, *data_dir)
    arguments = ("import", str(path), "--type=own", "--subject=column:who", "--time=column:ts", *data_dir)

    assert told(meterport(*arguments)) == [
        "read 2 rows, stored 2, already stored 0, skipped 0",
        of_stored(1),
        "  row 2: invalid event: value cannot be parsed as float64: many",
    ]
    assert told(meterport(*arguments, "--restart")) == ["read 2 rows, stored 0, already stored 2, skipped 0"]


def test_with_kafka_as_the_log_the_summary_is_the_same(broker: Kafka, tmp_path: Path) -> None:
    topic = Topic(require_real_broker(broker).bootstrap, 3)
    broker.create_topic(topic.name, 3)
    variables = {"METERPORT_KAFKA__BROKERS": topic.bootstrap, "METERPORT_KAFKA__TOPIC": topic.name}
    running = Server(tmp_path / "kafka", variables=variables | {"METERPORT_KAFKA__GROUP": topic.name})
    running.start()
    client = ApiClient(str(running.url), None)
    meter(client, "topic")
    path = tmp_path / "e.csv"
    rows = [*(f"{AT},a{number % 9},{number}" for number in range(3000)), f"{AT},b,-"]
    path.write_text("\n".join(["ts,who,tokens", *rows, ""]))
    mapping = ("--type=topic", "--subject=column:who", "--time=column:ts")
    arguments = ("import", str(path), *mapping, "--server", str(running.url), "--data-dir", str(tmp_path))

    first, second = meterport(*arguments), meterport(*arguments, "--restart")
    counted = usage(client, "topic_sum")
    client.close()
    running.kill()

    assert told(first) == [
        "read 3,001 rows, stored 3,001, already stored 0, skipped 0",
        of_stored(1),
        "  row 3,001: invalid event: value cannot be parsed as float64: -",
    ]
    assert told(second) == ["read 3,001 rows, stored 0, already stored 3,001, skipped 0"]
    assert counted == [sum(range(3000))]
