"""The report of `meterport doctor` in docs/operations.md has lines as the command prints them."""

from pathlib import Path

from engine.store.migrations import migrate
from engine.store.opening import open_store
from meterport.doctor.store_checks import RIGHTS
from tests.doctor.good_topic import good_topic
from tests.doctor.runs import KEYS
from tests.documents.shown import block
from tests.harness.broker import Broker
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.command import meterport
from tests.harness.own_clickhouse import server

__all__ = ["server"]  # a fixture of another file

TLS = ", with a valid certificate"  # tests/doctor/test_store_address.py has a server with TLS
TOPIC = "om_default_events"


def test_the_report_is_shown_as_it_is_printed(server: ClickHouse, process: Broker, tmp_path: Path) -> None:
    [((_, *arguments), shown)] = block("$ meterport doctor").sessions()
    settings = server_settings(server.url, tmp_path, database="meterport")
    store = open_store(settings)
    migrate(store, settings)
    store.close()
    server.restrict(f"GRANT {', '.join(RIGHTS.keys() - {'DROP TABLE'})} ON meterport.*")
    topic = good_topic(process, 1, cleanup_policy="compact")
    config = tmp_path / "meterport.yaml"
    config.write_text(
        f"store: {{url: '{server.url}'}}\n"
        f"kafka: {{brokers: '{topic.bootstrap}', topic: '{topic.name}', group: '{topic.name}'}}\n"
    )

    printed = meterport(*[str(config) if each == config.name else each for each in arguments], variables=KEYS)

    server.restrict()
    names = {
        server.url.removeprefix("http://"): "clickhouse.example.com:8443",
        topic.name: TOPIC,
        "accepts default": "accepts meterport",
        "default lacks": "meterport lacks",
        "TO default": "TO meterport",
    }
    said = printed.stdout
    for name, shown_name in names.items():
        said = said.replace(name, shown_name)
    missing = [line for line in shown.splitlines() if line != "…" and line.replace(TLS, "") not in said.splitlines()]
    assert missing == [], said
