"""The keys that portal tokens are signed with: those of the settings, or one that is kept in the data directory."""

import os
import secrets
from pathlib import Path

from engine.config.directories import check_directory, make_private, read_key
from engine.config.key_strength import weakness
from engine.config.settings import Settings
from engine.errors import ConfigurationError

_KEY_FILE = "portal_token_key"


def load_token_keys(settings: Settings) -> list[str]:
    """Return the signing keys, newest first: the configured ones, else the one kept in the data directory.

    That one is made the first time, for this user's eyes only. Processes that start together end up with the same.
    Raises: ConfigurationError: it cannot be kept or read.
    """
    configured = [key.get_secret_value() for key in settings.portal.token_keys]
    return configured or [_kept_key(settings.data_dir, settings.trust_data_dir)]


def _kept_key(directory: Path, trusted: bool) -> str:
    path = directory / _KEY_FILE
    try:
        make_private(directory)
        if not trusted:
            check_directory(directory)
        if not path.exists():
            _keep(path, secrets.token_urlsafe(32))
        key = read_key(path, trusted)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"data_dir: cannot keep a token key in {path}: {error}") from None
    weak = weakness(key)
    if weak:
        raise ConfigurationError(f"data_dir: the key in {path} {weak}")
    return key


def _keep(path: Path, key: str) -> None:
    """Make the file, whole and on disk, unless another process is first."""
    whole = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    file = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, key.encode())
        os.fsync(file)
        path.hardlink_to(whole)  # fails if there is one, as O_EXCL would, but never shows a file half written
    except FileExistsError:
        return
    finally:
        os.close(file)
        whole.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
