"""Look up security advisories for the packages of the lock files, with pip-audit and npm.

Run by `make audit` in a separate environment (requirements.lock beside this file), so that the product and its
development do not depend on it. It ends with status 1 if there is an advisory. If the advisory service cannot be
reached, nothing was looked up: then it prints SKIPPED and the reason, and never PASSED.
Source: pip-audit and `npm audit --json`.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
PIP_AUDIT = ROOT / ".venv-audit" / "bin" / "pip-audit"
LOCK = ROOT / "requirements.lock"
PAGE = ROOT / "api" / "portal_page"
# Advisories that do not affect Meterport, by id, each with the reason. None so far.
ACCEPTED: dict[str, str] = {}
_SECONDS = 300
_ENTRY = re.compile(r"^[A-Za-z0-9_.-]+==.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_UNREACHED = re.compile(r"ConnectionError|ConnectTimeout|ReadTimeout|ServiceError|NameResolution|HTTPError|ProxyError")


class Verdict(NamedTuple):
    """The result of a scan. `word`: PASSED, SKIPPED or FAILED."""

    word: str
    reason: str


def pip_verdict(report: dict[str, Any]) -> Verdict:
    """Return the verdict on a report of pip-audit. Packages that it could not look up make it SKIPPED, not PASSED."""
    packages = report["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'none'}"
        for package in packages
        for one in package.get("vulns", [])
        if not {one["id"], *one.get("aliases", [])} & ACCEPTED.keys()
    ]
    if found:
        return Verdict("FAILED", "; ".join(found))
    skipped = [package for package in packages if "skip_reason" in package]
    if skipped:
        first = skipped[0]
        count = f"{len(skipped)} of {len(packages)} packages were not looked up"
        return Verdict("SKIPPED", f"{count}, the first is {first['name']}: {first['skip_reason']}")
    return Verdict("PASSED", f"no known advisory against {len(packages)} packages")


def npm_verdict(report: dict[str, Any]) -> Verdict:
    """Return the verdict on a report of npm. Without a count of vulnerabilities it is SKIPPED."""
    metadata = report.get("metadata")
    if not isinstance(metadata, dict) or "vulnerabilities" not in metadata:
        return Verdict("SKIPPED", str(report.get("message") or report.get("error") or "npm gave no report"))
    found = [f"{name} ({one.get('severity')})" for name, one in report.get("vulnerabilities", {}).items()]
    if found:
        return Verdict("FAILED", ", ".join(sorted(found)))
    return Verdict("PASSED", f"no known advisory against {metadata['dependencies']['total']} packages")


def scan_python() -> Verdict:
    """Look up the packages of the lock. The first one goes alone, so that an unavailable service is asked only once."""
    text = LOCK.read_text(encoding="utf-8")
    entries = _ENTRY.findall(text)
    for requirements in (entries[:1], entries):
        verdict = _pip_audit("".join(requirements))
        if verdict.word == "SKIPPED":
            break
    return verdict


def _pip_audit(requirements: str) -> Verdict:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "requirements.txt"
        file.write_text(requirements, encoding="utf-8")
        options = ["--requirement", str(file), "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
        return _verdict([str(PIP_AUDIT), *options, "--format", "json"], ROOT, pip_verdict)


def scan_page() -> Verdict:
    """Look up the packages that the customer's page contains or is built with."""
    return _verdict(["npm", "audit", "--package-lock-only", "--json"], PAGE, npm_verdict)


def _verdict(command: Sequence[str], folder: Path, judge: Any) -> Verdict:
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Verdict("SKIPPED", f"no answer within {_SECONDS} s")
    try:
        report = json.loads(ran.stdout)
    except ValueError:
        last = (ran.stderr.strip().splitlines() or ["no output"])[-1]
        return Verdict("SKIPPED" if _UNREACHED.search(ran.stderr) else "FAILED", f"{command[0]}: {last}")
    verdict: Verdict = judge(report)
    return verdict


def main() -> int:
    """Scan both lock files, print a line for each, and return the exit status."""
    verdicts = {"requirements.lock": scan_python(), "api/portal_page/package-lock.json": scan_page()}
    for name, verdict in verdicts.items():
        print(f"audit of {name}: {verdict.word}: {verdict.reason}")  # noqa: T201
    return int(any(verdict.word == "FAILED" for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
