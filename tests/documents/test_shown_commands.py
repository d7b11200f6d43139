"""Each block of commands in docs/operations.md is run by a test, unless it needs a registry or a cluster."""

from tests.documents.shown import blocks

# How a block of commands begins, and who runs it.
RUN_BY = {
    "$ meterport doctor": "tests/doctor/test_shown_report.py",
    "$ meterport migrate": "tests/console/test_migrate.py",
    "$ meterport dead-letters": "tests/console/test_dead_letters.py",
    # Helm's commands with the values beside them. The others need a registry and a cluster.
    "docker build": "tests/chart/test_install_guide.py",
    "helm test": "tests/chart/test_install_guide.py",
    "helm upgrade": "tests/chart/test_install_guide.py",
    "METERPORT_TRACING=true": "variables; tests/tracing/test_processes.py sets them",
    "kubectl -n usage create secret": "tests/chart/test_install_guide.py",
    "kubectl -n usage exec": "tests/chart/test_install_guide.py",
    "kubectl -n kafka get secret": "needs a cluster with Strimzi",
}


def test_each_block_of_commands_is_known() -> None:
    shown = [each for each in blocks() if each.kind == "sh" or each.text.startswith("$ ")]

    unknown = [each.text for each in shown if not each.text.startswith(tuple(RUN_BY))]
    unused = [beginning for beginning in RUN_BY if not any(each.text.startswith(beginning) for each in shown)]

    assert (unknown, unused) == ([], [])
