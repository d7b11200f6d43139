"""A command loads only the libraries that it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

HEAVY = {"chdb", "clickhouse_connect", "confluent_kafka", "numpy", "opentelemetry", "pyarrow", "starlette", "uvicorn"}
LIST = ("token", "list", "--server", "http://127.0.0.1:1")


@pytest.mark.parametrize(("arguments", "status"), [(("--help",), 0), (("query", "--help"), 0), (LIST, 1)])
def test_a_command_loads_only_what_it_needs(arguments: tuple[str, ...], status: int) -> None:
    """A command that calls a server needs neither the store nor Kafka, which take a second to import."""
    show = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    program = f"{show}import meterport; meterport.main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == status, ran.stderr
    loaded = set(ran.stderr.splitlines()[-1].split())
    assert "meterport.cli" in loaded
    assert loaded & HEAVY == set()


def test_a_command_that_stores_and_reads_does_not_load_pandas(tmp_path: Path) -> None:
    """Arrow would load it where it is installed, and chDB needs it to be."""
    show = (
        "import atexit, sys; atexit.register(lambda: print(*filter(sys.modules.get, sys.modules), file=sys.stderr)); "
    )
    program = f"{show}import meterport; meterport.main()"
    create = ("meters", "create", "m", "--event-type=t", "--aggregation=COUNT", "--data-dir", str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", program, *create], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ran.stderr.splitlines()[-1].split())
    assert {"pyarrow", "chdb"} <= loaded
    assert "pandas" not in loaded


def test_a_service_without_tracing_loads_nothing_of_it() -> None:
    program = "import meterport.services, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "engine.tracing" in loaded
    assert loaded & {"opentelemetry", "requests", "google.protobuf", "engine.tracing.opentelemetry"} == set()
