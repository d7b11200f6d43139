"""The keys that sign portal tokens: the configured ones, or one that is kept in the data directory."""

import os
import secrets
from pathlib import Path

from engine.config.key_strength import weakness
from engine.config.permissions import check_directory, make_private, read_key
from engine.config.settings import Settings
from engine.errors import ConfigurationError

_KEY_FILE = "portal_token_key"


def load_token_keys(settings: Settings) -> list[str]:
    """Return the signing keys, newest first: the configured ones, or else the one in the data directory.

    The key in the data directory is created the first time, readable by this user only. Processes that start at the
    same time get the same key.
    Raises: ConfigurationError: the key cannot be written or read, or is weak.
    """
    configured = [key.get_secret_value() for key in settings.portal.token_keys]
    return configured or [_stored_key(settings.data_dir, settings.trust_data_dir)]


def _stored_key(directory: Path, trusted: bool) -> str:
    path = directory / _KEY_FILE
    try:
        make_private(directory)
        if not trusted:
            check_directory(directory)
        if not path.exists():
            _create_key_file(path, secrets.token_urlsafe(32))
        key = read_key(path, trusted)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"data_dir: cannot create or read the token key {path}: {error}") from None
    weak = weakness(key)
    if weak:
        raise ConfigurationError(
            f"data_dir: the key in {path} {weak}: delete the file, and a new key is made; the tokens that the old one "
            "signed become invalid"
        )
    return key


def _create_key_file(path: Path, key: str) -> None:
    """Create the key file, complete and synced to disk, unless another process has created it first."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, key.encode())
        os.fsync(file)
        # This fails if the file exists, like O_EXCL; but other processes never see an incomplete file.
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        os.close(file)
        temporary.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
