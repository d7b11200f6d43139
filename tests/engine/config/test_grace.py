"""The grace period: each part of the end of a process that a supervisor must allow for."""

from engine.config.grace import grace_parts
from engine.config.loading import load_settings


def test_only_a_process_with_tracing_sends_its_last_spans() -> None:
    without, with_spans = (grace_parts(load_settings(overrides={"tracing": tracing})) for tracing in (False, True))

    assert with_spans == {**without, "sending the last spans": 3}
