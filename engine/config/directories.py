"""Who else could write what this process trusts: its data directory, the entries in it, and the signing key.

Owns: the rule, as OpenSSH has it for keys, and the words that say what to do. Whoever can write the data directory can
change usage, forge tokens, and be sent the API key (by the URL in `lock`).

- The directory, and each entry in it, belongs to this process's user or to root. A link that somebody else has put
  there is such an entry.
- Only the owner may write the directory. So may a group that is root's, or one of this process's groups that has
  nobody else in it: a user's own group, and the group that Kubernetes (`fsGroup`) and OpenShift give to a volume.
- Only the owner, and such a group, may read the key.

Limits: what ACLs allow is not looked at; of accounts in a directory service only those that are listed locally are
known. `trust_data_dir` ends the judging.
Source: sshd_config(5) StrictModes; docs/operations.md "The data directory".
"""

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
_OURS_ALONE = 0o700


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and the groups a process of that user has."""

    uid: int
    groups: frozenset[int]

    @classmethod
    def of_process(cls) -> "Identity":
        """Return whom this process acts as."""
        return cls(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))

    def has_alone(self, gid: int) -> bool:
        """Whether a group is root's, or one of this user's that nobody else is known to be in."""
        if gid == _ROOT:
            return True
        if gid not in self.groups:
            return False
        ours = {_user(self.uid), _user(_ROOT)}
        try:
            members = set(grp.getgrgid(gid).gr_mem)
        except KeyError:
            members = set()
        return members <= ours and all(one.pw_uid in {self.uid, _ROOT} for one in pwd.getpwall() if one.pw_gid == gid)


def make_private(directory: Path) -> None:
    """Make a directory that is missing, and those above it, for this user alone. Raises: OSError."""
    if not directory.is_dir():
        if directory.exists():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
        if directory.parent != directory:
            make_private(directory.parent)
        directory.mkdir(mode=_OURS_ALONE, exist_ok=True)


def check_directory(directory: Path, identity: Identity | None = None) -> None:
    """Refuse a data directory that others could have prepared. One that is missing is fine.

    Args: identity: who uses it, if it is not this process.
    Raises: ConfigurationError: who could, and what to do; or it cannot be looked at.
    """
    try:
        if directory.exists():
            _check(directory, identity or Identity.of_process())
    except OSError as error:
        raise ConfigurationError(f"data_dir: cannot use {directory}: {error.strerror}") from None


def _check(directory: Path, who: Identity) -> None:
    status = directory.stat()
    _check_owner(directory, status, who)
    writers = _others(status, stat.S_IWGRP, stat.S_IWOTH, who)
    if writers:
        raise ConfigurationError(
            f"data_dir: {directory} may be written by {writers}: run chmod go-w {shlex.quote(str(directory))}, "
            "or choose a directory within it, which is then made for this user alone, or set trust_data_dir"
        )
    for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
        _check_owner(entry, entry.lstat(), who)


def read_key(path: Path, trusted: bool, identity: Identity | None = None) -> str:
    """Return what a key file holds. Raises: ConfigurationError: others could know or change it. OSError, ValueError."""
    with path.open(encoding="ascii") as file:
        if not trusted:
            who = identity or Identity.of_process()
            status = os.fstat(file.fileno())
            _check_owner(path, status, who)
            readers = _others(status, stat.S_IRGRP | stat.S_IWGRP, stat.S_IROTH | stat.S_IWOTH, who)
            if readers:
                raise ConfigurationError(
                    f"data_dir: {path} may be read or written by {readers}: run chmod 600 {shlex.quote(str(path))}; "
                    "if others may have read it, take another key"
                )
        return file.read().strip()


def _check_owner(path: Path, status: os.stat_result, who: Identity) -> None:
    if status.st_uid not in {who.uid, _ROOT}:
        raise ConfigurationError(
            f"data_dir: {path} belongs to {_user(status.st_uid)}, but this process runs as {_user(who.uid)}: run it as "
            f"that user, or, if you know what is in it, run chown -Rh {_user(who.uid)} on the directory, or set "
            "trust_data_dir"
        )


def _others(status: os.stat_result, group_bits: int, other_bits: int, who: Identity) -> str:
    """Return who else has some of these rights, "" if nobody has."""
    if status.st_mode & other_bits:
        return "every user"
    if status.st_mode & group_bits and not who.has_alone(status.st_gid):
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
