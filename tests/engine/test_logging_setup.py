"""How a process logs: a repeated message once a minute; with JSON, the event and its fields are members."""

import json
import logging
import re
import threading
from pathlib import Path

import pytest

from engine.errors import StoreUnavailable
from engine.logging_setup import OncePerMinute, _JsonFormatter
from ingest.workers import Workers

ROOT = Path(__file__).resolve().parents[2]
OWN_MEMBERS = {"time", "level", "logger", "event", "message", "exception"}
REFUSED = "FAIL [meterport#%s] [thrd:%s/bootstrap]: %s/bootstrap: Connect failed: Connection refused (after %dms)"
AWAY = "Max retries exceeded with url: /?query_id=%s (Connection refused)"
QUERIES = "7da04809-56a7-464e-9edb-601bbf03f7e0", "d1fdd13d-93fb-4e03-9f07-0952c52f34ab"


def test_a_line_is_let_through_once_a_minute() -> None:
    seconds = 0.0
    said_once = OncePerMinute(lambda: seconds)

    def is_let_through(client: str, broker: str, took_ms: int) -> bool:
        arguments = (client, broker, broker, took_ms)
        return bool(said_once.filter(logging.LogRecord("kafka", logging.ERROR, "", 0, REFUSED, arguments, None)))

    assert is_let_through("producer-1", "kafka-1:9092", 0)
    assert not is_let_through("producer-1", "kafka-1:9092", 3)
    assert not is_let_through("consumer-12", "kafka-1:9092", 0)
    assert is_let_through("producer-1", "kafka-2:9092", 0)
    seconds = 59.0
    assert not is_let_through("producer-1", "kafka-1:9092", 0)
    seconds = 60.0
    assert is_let_through("producer-1", "kafka-1:9092", 0)
    assert not is_let_through("producer-1", "kafka-1:9092", 0)


def test_work_that_fails_again_and_again_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Without the store the filler tries again five times a second."""
    tries = 0
    enough = threading.Event()
    workers = Workers()

    def fail() -> None:
        nonlocal tries
        tries += 1
        if tries == 10:
            enough.set()
        raise StoreUnavailable(AWAY % QUERIES[tries % 2])

    workers.repeat("filler of a test", fail, 0.001)
    assert enough.wait(30)
    workers.join(30)

    assert len([line for line in caplog.messages if "filler of a test" in line]) == 1


def as_json(logger: str, template: str, *arguments: object, secrets: tuple[str, ...] = ()) -> dict[str, object]:
    record = logging.LogRecord(logger, logging.INFO, "", 0, template, arguments, None)
    return dict(json.loads(_JsonFormatter([*secrets]).format(record)))


def test_the_event_and_its_fields_are_members_of_the_json() -> None:
    line = as_json(
        "ingest.consumer", "plan_refused token=%s ranges=%s count=%d: no process has begun %s", "t-1", [(0, 5)], 3, "it"
    )

    assert {name: line[name] for name in ("event", "token", "ranges", "count")} == {
        "event": "plan_refused", "token": "t-1", "ranges": "[(0, 5)]", "count": 3,
    }  # fmt: skip
    assert line["message"] == "plan_refused token=t-1 ranges=[(0, 5)] count=3: no process has begun it"
    assert (line["level"], line["logger"]) == ("info", "ingest.consumer")


@pytest.mark.parametrize(
    ("template", "arguments", "fields"),
    [
        ("stopped", (), {"event": "stopped"}),
        ("listening url=http://%s:%d for=%s", ("h", 80, "api"), {"url": "http://h:80", "for": "api"}),
        ("group_protocol_changed protocol=classic: the brokers offer no other", (), {"protocol": "classic"}),
        ("worker_failed name=%s error=%s", ("w", ValueError("a b=c")), {"name": "w", "error": "a b=c"}),
        ("log_gap log=%s: %s", ("l", "gap=%s"), {"log": "l"}),
        ("meters_counted states=%s", ({"ready": 1},), {"states": "{'ready': 1}"}),  # logging unpacks a lone mapping
    ],
)
def test_a_field_has_the_value_that_the_line_shows(
    template: str, arguments: tuple[object, ...], fields: dict[str, object]
) -> None:
    line = as_json("engine.x", template, *arguments)

    assert {name: value for name, value in line.items() if name not in OWN_MEMBERS - {"event"}} == {
        "event": line["event"], **fields,
    }  # fmt: skip


def test_a_secret_in_a_field_is_masked() -> None:
    line = as_json("engine.x", "request_failed error=%s", "url http://u:hunter2@h", secrets=("hunter2",))

    assert "hunter2" not in json.dumps(line)


def test_the_words_of_a_library_have_no_fields() -> None:
    line = as_json("confluent_kafka", "FAIL broker=%s", "b")

    assert line.keys() == {"time", "level", "logger", "message"}


def test_every_line_of_the_product_begins_with_its_event_and_no_field_hides_a_member() -> None:
    templates = [
        template
        for package in ("engine", "ingest", "api", "meterport")
        for path in (ROOT / package).rglob("*.py")
        for template in re.findall(r'logger\.(?:debug|info|warning|error|exception)\(\s*"([^"]+)"', path.read_text())
    ]
    fields = {name for template in templates for name in re.findall(r"\b(\w+)=", template)}

    assert len(templates) > 40
    assert [template for template in templates if not re.match(r"[a-z]+(_[a-z]+)*(:? |$)", template)] == []
    assert fields & OWN_MEMBERS == set()
