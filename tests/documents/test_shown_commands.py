"""Each block of commands in docs/operations.md is run by a test, unless it needs a registry or a cluster."""

from pathlib import Path

from engine.config.loading import load_settings
from engine.store.migrations import known_migrations, run_pending
from engine.store.opening import open_store
from tests.documents.shown import block, blocks
from tests.harness.command import meterport

# How a block of commands begins, and who runs it.
RUN_BY = {
    "$ meterport doctor": "tests/doctor/test_shown_report.py",
    "$ meterport migrate": "this file",
    "$ meterport dead-letters": "tests/console/test_dead_letters.py",
    # Helm's commands with the values beside them. The others need a registry and a cluster.
    "docker build": "tests/chart/test_install_guide.py",
    "helm test": "tests/chart/test_install_guide.py",
    "helm upgrade": "tests/chart/test_install_guide.py",
    "kubectl -n kafka get secret": "needs a cluster with Strimzi",
}


def test_each_block_of_commands_is_known() -> None:
    shown = [each for each in blocks() if each.kind == "sh" or each.text.startswith("$ ")]

    unknown = [each.text for each in shown if not each.text.startswith(tuple(RUN_BY))]
    unused = [beginning for beginning in RUN_BY if not any(each.text.startswith(beginning) for each in shown)]

    assert (unknown, unused) == ([], [])


def test_the_migrations_are_shown_as_they_run(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    settings = load_settings(overrides={"data_dir": directory})
    directory.mkdir(0o700)
    store = open_store(settings)
    run_pending(store, known_migrations(settings)[:-1])
    store.close()

    for (_, *arguments), output in block("$ meterport migrate").sessions():
        ended = meterport(*arguments, data_dir=directory)

        assert (ended.stdout, ended.stderr) == (output, "")
