"""The jars that a pom of the tests asks for, fetched by Maven once for each version of the pom.

Source: maven.apache.org/plugins/maven-dependency-plugin `copy-dependencies`.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.harness.services import CACHE, Unavailable, file_lock

POM = Path(__file__).resolve().parent.parent / "kafka" / "pom.xml"
FETCH_SECONDS = 600


def fetch_jars(pom: Path = POM) -> list[Path]:
    """Return the jars that a pom asks for, fetched once for each version of the pom (about 45 MB for the broker).

    Raises: Unavailable: there is no java or no mvn, or Maven failed.
    """
    if shutil.which("java") is None:
        raise Unavailable("no java on this machine")
    directory = CACHE / pom.parent.name / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    with file_lock("maven"):
        if not directory.exists():
            _copy_dependencies(directory, pom)
    return sorted(directory.glob("*.jar"))


def _copy_dependencies(directory: Path, pom: Path) -> None:
    """Fetch the jars of a pom into `directory`. It appears at the end: if it exists, it is complete."""
    if shutil.which("mvn") is None:
        raise Unavailable("no mvn on this machine")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={scratch}/jars"]
        maven = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_SECONDS,
        )
        if maven.returncode:
            raise Unavailable(f"mvn cannot fetch the dependencies of {pom}:\n{(maven.stdout + maven.stderr)[-2000:]}")
        Path(scratch, "jars").rename(directory)
