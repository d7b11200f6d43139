"""Processes of the program that start in a moment: forked from one that has loaded its libraries.

A start of `meterport` loads a thousand modules, which takes most of a second of processor time, and the tests start
hundreds of processes. So each test process has one parent (`python -m tests.harness.preloaded`) that loads them once,
starts no thread, and forks for each start. The child runs its module with the same arguments, variables and open
files as a process of its own would, and ends as it would. Tests of the start itself
(test_early_stop.py) and the long forms (METERPORT_TEST_LONG=1) start the command as it is.
Limits: Linux. The parent ends with the test process.
Source: the parent and the tests exchange one JSON message per packet over a Unix socket; files go with SCM_RIGHTS.
"""

import atexit
import ctypes
import gc
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, NoReturn

from tests.harness.long_form import LONG

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = (
    *("meterport.cli", "meterport.services", "meterport.connection", "meterport.commands.import_"),
    *("meterport.commands.doctor", "meterport.commands.meters", "meterport.commands.processes"),
    "meterport.commands.query",
    *("ingest.kafka.log", "ingest.kafka.producer", "engine.store.opening", "pyarrow.csv", "rich.progress"),
    # What libraries load when they are first used. Each process would need a tenth of a second for them.
    *("anyio._backends._asyncio", "httpcore", "pyarrow.compute", "uvicorn.lifespan.off", "uvloop", "encodings.idna"),
)
METERPORT = (sys.executable, "-m", "meterport")
# The modules that are forked.
PROGRAMS = (
    *("meterport", "tests.chaos.broken_ingest", "tests.chaos.other_clock", "tests.harness.broken_serve"),
    "tests.harness.clickhouse_front",
)
_MAX_MESSAGE = 1 << 20
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}  # of numpy and Arrow


class Process:
    """A started process, with those methods of `subprocess.Popen` that tests use."""

    def __init__(self, parent: "_Parent", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._parent = parent

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, negative for a signal. Raises: subprocess.TimeoutExpired."""
        return self._parent.wait(self, timeout)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Started = Process | subprocess.Popen[bytes]


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
) -> Started:
    """Start a command like `subprocess.Popen`. One of PROGRAMS with any arguments is forked, but not in a long form."""
    if LONG or tuple(command[:2]) != METERPORT[:2] or command[2] not in PROGRAMS:
        return subprocess.Popen(command, env=env, stdin=stdin, stdout=stdout, stderr=stderr, cwd=ROOT)
    with ExitStack() as opened:
        if stdin == subprocess.DEVNULL:
            stdin = opened.enter_context(Path(os.devnull).open("rb"))
        files = [
            default if file is None else file if isinstance(file, int) else file.fileno()
            for default, file in enumerate((stdin, stdout, stderr))
        ]
        return _parent().start(list(command[2:]), dict(env), files)


# --- in the test process


class _Parent:
    """The process that forks. Thread-safe."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.preloaded"],
                cwd=ROOT,
                stdin=theirs.fileno(),
                env={**os.environ, **_NO_THREADS},
            )
        self._starting = threading.Lock()
        self._changed = threading.Condition()
        self._started: list[Process] = []  # started and not returned yet
        self._running: dict[int, Process] = {}  # by their ids, which the kernel gives again after an end
        self._ended = False
        threading.Thread(target=self._receive, name="preloaded", daemon=True).start()

    def start(self, argv: list[str], env: dict[str, str], files: Sequence[int]) -> Process:
        message = json.dumps({"argv": argv, "env": env}).encode("utf-8", "surrogateescape")
        with self._starting:
            with self._changed:
                assert not self._ended, "the process that starts others has ended"
            socket.send_fds(self._socket, [message], files)
            with self._changed:
                self._changed.wait_for(lambda: self._started or self._ended)
                assert self._started, "the process that starts others has ended"
                return self._started.pop()

    def wait(self, process: Process, timeout: float | None) -> int:
        with self._changed:
            self._changed.wait_for(lambda: process.returncode is not None or self._ended, timeout)
            if process.returncode is not None:
                return process.returncode
            assert not self._ended, "the process that starts others has ended"
        raise subprocess.TimeoutExpired(str(process.pid), timeout or 0)

    def _receive(self) -> None:
        with suppress(ConnectionResetError):  # it failed at its start, which its error says
            while message := self._socket.recv(_MAX_MESSAGE):
                told = json.loads(message)
                with self._changed:
                    if "status" in told:
                        self._running.pop(told["pid"]).returncode = told["status"]
                    else:
                        self._running[told["pid"]] = process = Process(self, told["pid"])
                        self._started.append(process)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self.process.wait()
        self._socket.close()


_made: list[_Parent] = []
_making = threading.Lock()


def _parent() -> _Parent:
    with _making:
        if not _made:
            _made.append(_Parent())
            atexit.register(_made[0].end)
        return _made[0]


# --- in the process that forks


def _serve() -> None:
    """Fork for each message. Return in a child, which then is what the message says; end with the test process."""
    for name in MODULES:
        importlib.import_module(name)
    _load_chdb_library()
    gc.collect()
    gc.freeze()  # a child that looked for garbage among these modules would copy them all, a third of a second each
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{threads} threads: a fork copies only one of them"
    asked = socket.socket(fileno=os.dup(0))
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the signal writes to the pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the test process ends this one
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([asked.fileno(), reader], [], [])
        if reader in ready:
            os.read(reader, 4096)
            _report_ended(asked)
        if asked.fileno() not in ready:
            continue
        message, files, _, _ = socket.recv_fds(asked, _MAX_MESSAGE, 3)
        if not message:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.close(reader)
            os.close(writer)
            asked.close()
            _become(json.loads(message.decode("utf-8", "surrogateescape")), files)
            return
        for file in files:
            os.close(file)
        asked.send(json.dumps({"pid": pid}).encode())


def _load_chdb_library() -> None:
    """Load the library of chDB, half a gigabyte, but not its Python module, which starts threads.

    It does what `import chdb` and engine/store/opening.py do with the library, so that they find it loaded.
    """
    found = importlib.util.find_spec("chdb")
    assert found is not None
    assert found.origin is not None
    os.environ["TZ"] = "UTC"
    ctypes.CDLL(str(Path(found.origin).with_name("_chdb.abi3.so")), mode=sys.getdlopenflags() | os.RTLD_DEEPBIND)


def _report_ended(asked: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        asked.send(json.dumps({"pid": pid, "status": os.waitstatus_to_exitcode(status)}).encode())


def _become(asked: dict[str, object], files: Sequence[int]) -> None:
    """Take over the arguments, variables and standard files that were asked for."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[call-overload]
    sys.argv = [str(argument) for argument in asked["argv"]]  # type: ignore[attr-defined]
    sys.modules.pop("meterport.early_stop", None)  # it sets the handlers of signals when it is imported, by sys.argv


def _main() -> NoReturn:
    _serve()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    _main()
