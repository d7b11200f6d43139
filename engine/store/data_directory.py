"""The lock on the data directory: one process has it, and says in it where that process listens."""

import errno
import fcntl
import os
from pathlib import Path
from typing import TextIO

from engine.config.directories import check_directory, make_private
from engine.errors import ConfigurationError, DataDirectoryInUse


class DirectoryLock:
    """Exclusive use of a data directory until released or the process ends.

    Args: trusted: it is used even if others may write it.
    Raises: DataDirectoryInUse: another process has it. ConfigurationError: it cannot be made, or not written to, or
        others could have prepared it.
    """

    def __init__(self, directory: Path, trusted: bool = False) -> None:
        try:
            make_private(directory)  # it holds customers' data
            if not trusted:
                check_directory(directory)
            self._file = _opened(directory / "lock")
            self._take(directory)
        except (FileExistsError, NotADirectoryError):
            raise ConfigurationError(f"data_dir: {directory} is not a directory") from None
        except OSError as error:
            raise ConfigurationError(f"data_dir: cannot use {directory}: {error.strerror}") from None

    def _take(self, directory: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            pid, _, url = self._file.read().partition(" ")
            self._file.close()
            raise DataDirectoryInUse(
                f"{directory} is in use by another meterport process (pid {pid or 'unknown'})", url.strip() or None
            ) from None
        self._say(str(os.getpid()))

    def announce(self, url: str) -> None:
        """Tell whoever finds the directory in use where its process can be asked."""
        self._say(f"{os.getpid()} {url}")

    def _say(self, text: str) -> None:
        self._file.truncate(0)
        self._file.write(text)
        self._file.flush()

    def release(self) -> None:
        """Let another process have the directory."""
        self._file.close()


def _opened(lock: Path) -> TextIO:
    """Open the lock, made if it is missing; a link is not followed, or its target would be written over."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigurationError(f"data_dir: {lock} is a symbolic link: remove it") from None
        raise
    return os.fdopen(descriptor, "a+", encoding="utf-8")
