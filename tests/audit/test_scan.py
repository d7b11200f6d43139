"""The verdicts of a scan for advisories: a scan that looked up nothing never counts as passed."""

from typing import Any

import pytest

from tests.audit import scan

CLEAN = {"name": "orjson", "version": "3.11.0", "vulns": []}
HOLE = {"id": "PYSEC-2099-1", "aliases": ["CVE-2099-1"], "fix_versions": ["3.1.6"], "description": "…"}
HOLED = {"name": "jinja2", "version": "2.4.1", "vulns": [HOLE]}
UNKNOWN = {"name": "itsdangerous", "skip_reason": "Dependency not found and could not be audited"}


@pytest.mark.parametrize(
    ("packages", "word", "reason"),
    [
        ([CLEAN], "PASSED", "no known advisory against 1 packages"),
        ([CLEAN, HOLED], "FAILED", "jinja2 2.4.1: PYSEC-2099-1, fixed in 3.1.6"),
        ([UNKNOWN, HOLED], "FAILED", "jinja2 2.4.1: PYSEC-2099-1, fixed in 3.1.6"),
        ([UNKNOWN, CLEAN], "SKIPPED", "1 of 2 packages were not looked up, the first is itsdangerous: Dependency not"),
    ],
    ids=["clean", "a hole", "a hole beside one not looked up", "one not looked up"],
)
def test_a_report_of_pip_audit_passes_only_if_every_package_was_looked_up(
    packages: list[dict[str, Any]], word: str, reason: str
) -> None:
    verdict = scan.pip_verdict({"dependencies": packages, "fixes": []})

    assert verdict.word == word
    assert verdict.reason.startswith(reason)


def test_an_advisory_that_is_accepted_with_a_reason_does_not_fail_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scan.ACCEPTED, "CVE-2099-1", "templates are ours alone")

    assert scan.pip_verdict({"dependencies": [HOLED]}).word == "PASSED"


COUNTS = {"vulnerabilities": {"high": 1, "total": 1}, "dependencies": {"total": 240}}


@pytest.mark.parametrize(
    ("report", "word", "reason"),
    [
        ({"vulnerabilities": {}, "metadata": COUNTS}, "PASSED", "no known advisory against 240 packages"),
        ({"vulnerabilities": {"x": {"severity": "high"}}, "metadata": COUNTS}, "FAILED", "x (high)"),
        ({"message": "405 Method Not Allowed", "statusCode": 405}, "SKIPPED", "405 Method Not Allowed"),
        ({"error": {"summary": "no network"}}, "SKIPPED", "{'summary': 'no network'}"),
        ({}, "SKIPPED", "npm gave no report"),
    ],
    ids=["clean", "a hole", "refused", "no network", "empty"],
)
def test_a_report_of_npm_passes_only_if_it_counted(report: dict[str, Any], word: str, reason: str) -> None:
    assert scan.npm_verdict(report) == scan.Verdict(word, reason)


def test_each_package_of_the_lock_is_asked_for_with_its_hashes() -> None:
    entries = scan._ENTRY.findall(scan.LOCK.read_text(encoding="utf-8"))

    assert len(entries) > 50
    assert all("--hash=sha256:" in entry and entry.count("==") >= 1 for entry in entries)


@pytest.mark.parametrize(
    ("says", "word"), [("requests.exceptions.ConnectionError: no route", "SKIPPED"), ("no such option", "FAILED")]
)
def test_a_tool_that_ends_without_a_report_skipped_only_if_the_service_is_away(says: str, word: str) -> None:
    command = ["sh", "-c", f"echo '{says}' >&2; exit 1"]

    verdict = scan._verdict(command, scan.ROOT, scan.pip_verdict)

    assert verdict == scan.Verdict(word, f"sh: {says}")
