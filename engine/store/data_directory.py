"""The lock on the data directory. Only one process can hold it, and it writes its process id and its URL into the file.

Limits: the lock is an flock on the file `lock`; the operating system releases it when the process ends.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import TextIO

from engine.config.permissions import check_directory, make_private
from engine.errors import ConfigurationError, DataDirectoryInUse


class DirectoryLock:
    """Exclusive use of a data directory until `release` is called or the process ends.

    Args: trusted: the directory is used even if other users can write to it.
    Raises: DataDirectoryInUse: another process uses it. ConfigurationError: the directory cannot be created or written
        to, or other users can write to it.
    """

    def __init__(self, directory: Path, trusted: bool = False) -> None:
        try:
            make_private(directory)  # It holds customers' data.
            if not trusted:
                check_directory(directory)
            self._file = _open_lock_file(directory / "lock")
            self._acquire(directory)
        except (FileExistsError, NotADirectoryError):
            raise ConfigurationError(f"data_dir: {directory} is not a directory") from None
        except OSError as error:
            raise ConfigurationError(f"data_dir: cannot use {directory}: {error.strerror}") from None

    def _acquire(self, directory: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid, url = _user(self._file)
            self._file.close()
            raise DataDirectoryInUse(f"{directory} is in use by another meterport process (pid {pid})", url) from None
        self._write(str(os.getpid()))

    def announce(self, url: str) -> None:
        """Write this process's URL into the lock file, so that another command can send its requests there."""
        self._write(f"{os.getpid()} {url}")

    def _write(self, text: str) -> None:
        self._file.truncate(0)
        self._file.write(text)
        self._file.flush()

    def release(self) -> None:
        """Release the lock, so that another process can use the directory."""
        self._file.close()


def user_of(directory: Path) -> str | None:
    """Return the pid of the process that has locked a data directory, or None. Nothing is written.

    For an instant this locks the directory for reading: a process that starts just then finds it in use.
    """
    try:
        with (directory / "lock").open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return _user(file)[0]
    except OSError:
        pass  # no process has used it, or none of this user
    return None


def _user(file: TextIO) -> tuple[str, str | None]:
    """Return the pid and the URL in a lock file."""
    file.seek(0)
    pid, _, url = file.read().partition(" ")
    return pid or "unknown", url.strip() or None


def _open_lock_file(lock: Path) -> TextIO:
    """Open the lock file, creating it if it is missing. A symbolic link is refused: its target would be overwritten."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigurationError(f"data_dir: {lock} is a symbolic link: remove it") from None
        raise
    return os.fdopen(descriptor, "a+", encoding="utf-8")
