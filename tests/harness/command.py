"""One call of the command line, as a person or a script makes it. No variable of the test process configures it."""

import os
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import DEVNULL, CompletedProcess
from typing import IO

from tests.harness import preloaded

SECONDS = 120


def meterport(
    *arguments: str | bytes, data_dir: Path | None = None, variables: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run `meterport` with these arguments, and return its end. Args: data_dir: the argument --data-dir."""
    ended = meterport_bytes(*arguments, data_dir=data_dir, variables=variables)
    return CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def meterport_bytes(
    *arguments: str | bytes,
    data_dir: Path | None = None,
    variables: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> CompletedProcess[bytes]:
    """Run `meterport` like `meterport`, with `stdin` in a pipe, and return what it printed as bytes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
    given = [*map(os.fsdecode, arguments), *(("--data-dir", str(data_dir)) if data_dir else ())]
    with ExitStack() as opened:
        output, errors = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        process = preloaded.start(
            [*preloaded.METERPORT, *given],
            env={**inherited, **(variables or {})},
            stdin=DEVNULL if stdin is None else opened.enter_context(_pipe(stdin)),
            stdout=output,
            stderr=errors,
        )
        try:
            code = process.wait(SECONDS)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return CompletedProcess(given, code, output.read(), errors.read())


def _pipe(content: bytes) -> IO[bytes]:
    """Return the reading end of a pipe that gets this content."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe, suppress(BrokenPipeError):  # not everything may be read
            pipe.write(content)

    threading.Thread(target=write, daemon=True).start()
    return os.fdopen(reading, "rb")
