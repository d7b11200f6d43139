"""The checks of the data directory, which holds the embedded store, the SQLite log, or a key that was made.

Limits: the embedded store itself is not opened, because opening it writes. A process of another container that uses the
directory is noticed, but its pid means nothing here.
"""

import os
import shutil
from pathlib import Path

from engine.config.permissions import check_directory
from engine.config.settings import Settings
from engine.store.data_directory import user_of
from meterport.doctor.report import Check, Fault, Warn

DIRECTORY, SPACE, USED = "data directory", "data directory space", "data directory use"
_FEW_BYTES = 1 << 30


class DirectoryChecks:
    """The checks of `data_dir`."""

    def __init__(self, settings: Settings) -> None:
        self._directory = settings.data_dir
        self._trusted = settings.trust_data_dir
        self._log_bytes = 0 if settings.kafka.brokers else settings.log.max_bytes

    def checks(self) -> list[Check]:
        """Return the checks in their order."""
        return [
            Check(DIRECTORY, self._check_directory),
            Check(SPACE, self._check_space, (DIRECTORY,)),
            Check(USED, self._check_use, (DIRECTORY,)),
        ]

    def _check_directory(self) -> str:
        directory = self._directory
        existing = _existing(directory)
        if not existing.is_dir():
            raise Fault(f"data_dir: {existing} is not a directory: remove it, or choose another data_dir")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise Fault(
                f"data_dir: this process may not write to {existing}: give it the right, mount a volume there, or "
                "choose another one"
            )
        if existing != directory:
            return f"{directory} does not exist; the first start creates it"
        if not self._trusted:
            check_directory(directory)
        return f"{directory} exists, and no other user can write to it"

    def _check_space(self) -> str:
        free = shutil.disk_usage(_existing(self._directory)).free
        needed = self._log_bytes + _FEW_BYTES
        if free < needed:
            raise Warn(
                f"data_dir: only {free >> 20} MiB are free at {self._directory}: events can need log.max_bytes "
                f"({self._log_bytes >> 20} MiB), and the store more"
            )
        return f"{free >> 20} MiB are free"

    def _check_use(self) -> str:
        pid = user_of(self._directory)
        if pid:
            raise Warn(f"data_dir: the meterport process {pid} uses it; another one can start only when that one ends")
        return "no process uses it"


def _existing(directory: Path) -> Path:
    """Return the directory, or the nearest one above it that exists."""
    for path in (directory, *directory.absolute().parents):
        if path.exists() or path.is_symlink():
            return path
    return Path("/")
