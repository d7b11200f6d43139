"""Checks of who else can read or write what this process trusts: its data directory, and the signing key in it.

Owns: the rules, which are like those of OpenSSH for keys, and the messages that say what to do. A user who can write to
the data directory can change usage, forge tokens, and receive the API key (through the URL in `lock`).

- The directory and each entry in it must belong to this process's user or to root. This includes symbolic links.
- Only the owner may have write access to the directory. A private group may have it too: root's group, or a group of
  this process that has no other member, such as a user's own group, or the group that Kubernetes (`fsGroup`) and
  OpenShift give to a volume.
- Only the owner and a private group may have read access to the key.

Limits: ACLs are not checked. Of the accounts in a directory service only those that are listed locally are known. The
setting `trust_data_dir` turns these checks off.
Source: sshd_config(5) StrictModes; docs/operations.md "The data directory".
"""

import contextlib
import errno
import grp
import os
import pwd
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigurationError

_ROOT = 0
_OWNER_ONLY = 0o700


@dataclass(frozen=True, slots=True)
class Identity:
    """The user id of a process and the ids of its groups."""

    uid: int
    groups: frozenset[int]

    @classmethod
    def of_process(cls) -> "Identity":
        """Return the effective user and the groups of this process."""
        return cls(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))

    def has_private_group(self, gid: int) -> bool:
        """Return whether a group is root's, or a group of this process in which no other user is known to be."""
        if gid == _ROOT:
            return True
        if gid not in self.groups:
            return False
        trusted = {_user(self.uid), _user(_ROOT)}
        try:
            members = set(grp.getgrgid(gid).gr_mem)
        except KeyError:
            members = set()
        return members <= trusted and all(
            account.pw_uid in {self.uid, _ROOT} for account in pwd.getpwall() if account.pw_gid == gid
        )


def make_private(directory: Path) -> None:
    """Create a directory and its missing parents, accessible to this user only. Raises: OSError."""
    if not directory.is_dir():
        if directory.exists():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
        if directory.parent != directory:
            make_private(directory.parent)
        directory.mkdir(mode=_OWNER_ONLY, exist_ok=True)


def check_directory(directory: Path, identity: Identity | None = None) -> None:
    """Check that no other user could have prepared a data directory. A missing directory is accepted.

    Args: identity: the user and groups that will use it; None: those of this process.
    Raises: ConfigurationError: the message says who could, and what to do; or the directory cannot be read.
    """
    try:
        if directory.exists():
            _check(directory, identity or Identity.of_process())
    except OSError as error:
        raise ConfigurationError(f"data_dir: cannot use {directory}: {error.strerror}") from None


def _check(directory: Path, identity: Identity) -> None:
    status = directory.stat()
    _check_owner(directory, status, identity)
    writers = _others_with_access(status, stat.S_IWGRP, stat.S_IWOTH, identity)
    if writers:
        raise ConfigurationError(
            f"data_dir: {writers} can write to {directory}: run chmod go-w {shlex.quote(str(directory))}, "
            "or choose a directory inside it, which is then created for this user only, or set trust_data_dir"
        )
    for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # Another process that starts now makes and removes a key file.
            _check_owner(entry, entry.lstat(), identity)


def read_key(path: Path, trusted: bool, identity: Identity | None = None) -> str:
    """Return the text of a key file without surrounding whitespace.

    Args: trusted: the file is not checked. identity: the user and groups that will use it; None: those of this process.
    Raises: ConfigurationError: other users could read or change the key. OSError. ValueError: it is not ASCII.
    """
    with path.open(encoding="ascii") as file:
        if not trusted:
            identity = identity or Identity.of_process()
            status = os.fstat(file.fileno())
            _check_owner(path, status, identity)
            readers = _others_with_access(status, stat.S_IRGRP | stat.S_IWGRP, stat.S_IROTH | stat.S_IWOTH, identity)
            if readers:
                raise ConfigurationError(
                    f"data_dir: {readers} can read or change {path}: run chmod 600 {shlex.quote(str(path))}; "
                    "if others may have read it, replace the key"
                )
        return file.read().strip()


def _check_owner(path: Path, status: os.stat_result, identity: Identity) -> None:
    if status.st_uid not in {identity.uid, _ROOT}:
        raise ConfigurationError(
            f"data_dir: {path} belongs to {_user(status.st_uid)}, but this process runs as {_user(identity.uid)}: run "
            f"it as that user, or, if you know what is in it, run chown -Rh {_user(identity.uid)} on the directory, or "
            "set trust_data_dir"
        )


def _others_with_access(status: os.stat_result, group_bits: int, other_bits: int, identity: Identity) -> str:
    """Return who else has one of these permissions, as text for a message; "" if nobody has."""
    if status.st_mode & other_bits:
        return "every user"
    if status.st_mode & group_bits and not identity.has_private_group(status.st_gid):
        return f"the group {_group(status.st_gid)}"
    return ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
