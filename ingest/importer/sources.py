"""What an import reads from: a file, or any other input, which is made readable more than once.

Owns: `Source`. A regular file is read through one open descriptor, up to the length it had at the beginning: if the
file is replaced under its name, or grows, this does not change what is read. Any other input (a pipe, standard input, a
device) is first read to its end into a temporary file, because an import needs the hash of the whole content before its
first row.
Limits: the temporary file is as long as the input. It is in TMPDIR, has no name, and disappears with the process.
"""

import hashlib
import io
import os
import stat
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO

from engine.errors import InvalidRequest
from engine.texts import printable

STANDARD_INPUT = "-"
_CHUNK_BYTES = 1 << 20
OnSpool = Callable[[str, int], None]


def label_of(path: Path) -> str:
    """Return the name of a path for messages."""
    return "standard input" if str(path) == STANDARD_INPUT else printable(str(path))


class Source:
    """Bytes that can be read any number of times.

    `label`: the name for messages. `hash`: the SHA-256 of all bytes, in hex.

    Args: path: a file, or `-` for standard input. on_spool: is called with the label and the number of bytes so far
    while input that can be read only once is copied.
    Raises: OSError: it cannot be read. InvalidRequest: it cannot be copied.
    """

    def __init__(self, path: Path, on_spool: OnSpool = lambda _, __: None) -> None:
        self.label = label_of(path)
        self.name = label_of(Path(path.name))
        self.descriptor = _open_readable(path, lambda size: on_spool(self.label, size), self.label)
        weakref.finalize(self, os.close, self.descriptor)
        status = os.fstat(self.descriptor)
        self.size, self._changed_ns = status.st_size, status.st_mtime_ns
        self.hash, self.lines = self._digest()

    def open(self) -> IO[bytes]:
        """Return a stream of all bytes, from the first one on."""
        return io.BufferedReader(_SourceStream(self), _CHUNK_BYTES)

    def check_unchanged(self) -> None:
        """Check that the file did not change, other than by growing.

        Raises: InvalidRequest: what was read has changed since its hash was taken.
        """
        if os.fstat(self.descriptor).st_mtime_ns != self._changed_ns and self._digest()[0] != self.hash:
            raise InvalidRequest(
                f"{self.label}: it was changed while it was read, so some of its rows may belong to neither version; "
                "import it again once it is complete"
            )

    def _digest(self) -> tuple[str, int]:
        """Return the SHA-256 of all bytes, and the number of lines."""
        digest, lines = hashlib.sha256(), 0
        with self.open() as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                lines += chunk.count(b"\n")
        return digest.hexdigest(), lines


class _SourceStream(io.RawIOBase):
    """The bytes of a source. Each stream has its own position in the one descriptor."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._source.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._source.size - self._position)
        if wanted <= 0:
            return 0
        got = os.preadv(self._source.descriptor, [memoryview(buffer)[:wanted]], self._position)
        if not got:
            raise InvalidRequest(f"{self._source.label}: it became shorter while it was read")
        self._position += got
        return got


def _open_readable(path: Path, on_spool: Callable[[int], None], label: str) -> int:
    """Return the descriptor of a regular file with the content of `path`: the file itself, or a copy."""
    if str(path) == STANDARD_INPUT:
        try:
            descriptor = os.dup(0)
        except OSError:
            raise InvalidRequest(f"{label}: it is closed") from None
    else:
        if path.exists() and not (path.is_file() or path.is_dir()):
            on_spool(0)  # opening a FIFO blocks until a process writes to it: report before that
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kind = os.fstat(descriptor)
        if stat.S_ISDIR(kind.st_mode):
            raise InvalidRequest(f"{label}: it is a directory, not a file")
        if stat.S_ISREG(kind.st_mode) and kind.st_size and not os.lseek(descriptor, 0, os.SEEK_CUR):
            return os.dup(descriptor)
        return _spool(descriptor, on_spool, label)  # files of /proc have a size of 0, too
    finally:
        os.close(descriptor)


def _spool(descriptor: int, on_spool: Callable[[int], None], label: str) -> int:
    """Read a descriptor to its end. Returns the descriptor of a temporary file with the same content."""
    size = 0
    with _temporary_file(label) as copy:
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            try:
                copy.write(chunk)
                copy.flush()
            except OSError as error:
                raise _copy_error(label, error) from None
            size += len(chunk)
            on_spool(size)
        return os.dup(copy.fileno())


def _temporary_file(label: str) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="meterport-")
    except OSError as error:
        raise _copy_error(label, error) from None


def _copy_error(label: str, error: OSError) -> InvalidRequest:
    directory = tempfile.gettempdir() if tempfile.tempdir else os.environ.get("TMPDIR", "/tmp")  # noqa: S108
    reason = error.strerror or "no directory is usable"
    return InvalidRequest(f"{label}: it cannot be copied to {directory}: {reason}; set TMPDIR to another directory")
