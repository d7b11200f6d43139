"""Files that other users could have prepared are not trusted: data directories, their entries, and the signing key.

Case S7 of the security audit. Tests need not run as root: the user of a directory is an argument. Only root can give
files to other users.
"""

import os
import pwd
import stat
from pathlib import Path

import pytest

from engine.config.loading import load_settings
from engine.config.permissions import Identity, check_directory, make_private, read_key
from engine.errors import ConfigurationError
from engine.store.data_directory import DirectoryLock
from engine.tokens.signing_keys import load_token_keys
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from ingest.importer.positions import ImportPosition, PositionFile

ME = Identity.of_process()
SOMEBODY = Identity(54_321, frozenset({54_321}))  # a user who owns nothing here
UNKNOWN_GROUP = 54_321


def with_mode(path: Path, mode: int) -> Path:
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    return path


def refusal(directory: Path, identity: Identity | None = None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        check_directory(directory, identity)
    return str(refused.value)


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750, 0o711, 0o2755, 0o1700])
def test_a_directory_that_only_its_owner_writes_is_taken(tmp_path: Path, mode: int) -> None:
    """S7."""
    check_directory(with_mode(tmp_path / "data", mode))


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777, 0o2777, 0o702])
def test_a_directory_that_every_user_may_write_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    """S7."""
    data = with_mode(tmp_path / "data", mode)

    assert refusal(data) == (
        f"data_dir: every user can write to {data}: run chmod go-w {data}, or choose a directory inside it, "
        "which is then created for this user only, or set trust_data_dir"
    )


def test_an_entry_that_is_gone_by_the_time_it_is_looked_at_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that start together make and remove a file for the signing key in the same directory."""
    data = with_mode(tmp_path / "data", 0o700)
    (data / "kept").touch()
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([path / "kept", path / "gone"]))

    check_directory(data)


def test_a_directory_or_an_entry_of_another_user_is_refused(tmp_path: Path) -> None:
    """S7: as root the test gives the files to another user; otherwise it checks as another user."""
    data = with_mode(tmp_path / "data", 0o755)
    (data / "portal_token_key").write_text("attackers-known-signing-key-0001")

    if ME.uid != 0:
        assert f"{data} belongs to " in refusal(data, SOMEBODY)
        return
    os.chown(data / "portal_token_key", 54_321, 54_321)
    assert refusal(data).startswith(
        f"data_dir: {data}/portal_token_key belongs to 54321, but this process runs as root"
    )
    os.chown(data, 54_321, 54_321)
    assert refusal(data).startswith(f"data_dir: {data} belongs to 54321, but this process runs as root")


def test_a_link_of_another_user_is_refused_whatever_it_leads_to(tmp_path: Path) -> None:
    """S7."""
    data = with_mode(tmp_path / "data", 0o755)
    (data / "log.sqlite").symlink_to("/etc/passwd")  # a file of root, through our own link

    if ME.uid == 0:
        check_directory(data)
        os.chown(data / "log.sqlite", 54_321, 54_321, follow_symlinks=False)
        assert refusal(data).startswith(f"data_dir: {data}/log.sqlite belongs to 54321")
    else:
        data.chmod(0o755)
        assert f"{data} belongs to " in refusal(data, SOMEBODY)


def test_a_group_may_write_only_if_nobody_else_is_in_it(tmp_path: Path) -> None:
    """S7: such as a user's own group (umask 002), the group that Kubernetes or OpenShift give a volume, and root's."""
    accounts = [one for one in pwd.getpwall() if one.pw_gid != 0 and one.pw_uid not in {0, ME.uid}]
    other = next(one for one in accounts if [each.pw_gid for each in accounts].count(one.pw_gid) == 1)

    assert Identity(1000, frozenset({UNKNOWN_GROUP})).has_private_group(UNKNOWN_GROUP)
    assert Identity(1000, frozenset({0, UNKNOWN_GROUP})).has_private_group(0)
    assert Identity(other.pw_uid, frozenset({other.pw_gid})).has_private_group(other.pw_gid)
    assert not Identity(54_321, frozenset({other.pw_gid})).has_private_group(other.pw_gid), "another account has it"
    assert not Identity(1000, frozenset({1000})).has_private_group(UNKNOWN_GROUP), "it is none of ours"
    data = with_mode(tmp_path / "data", 0o770)
    assert ME.has_private_group(data.stat().st_gid) or "data_dir: the group " in refusal(data)


def test_a_volume_that_kubernetes_gives_to_a_group_is_taken_as_it_is(tmp_path: Path) -> None:
    """S7: fsGroup makes a volume root:<group>, 2775, and at each mount makes the files in it group-writable."""
    pod = Identity(54_322, frozenset({54_322, UNKNOWN_GROUP}))
    volume = with_mode(tmp_path / "volume", 0o2775)
    (volume / "lock").touch(0o660)
    (volume / "portal_token_key").write_text("a-signing-key-of-tests")
    if ME.uid != 0:  # only root can change owners: check the same decision without the volume
        assert pod.has_private_group(UNKNOWN_GROUP)
        return
    os.chown(volume, 0, UNKNOWN_GROUP)
    volume.chmod(0o2775)
    for name in ("lock", "portal_token_key"):
        os.chown(volume / name, pod.uid, UNKNOWN_GROUP)
        (volume / name).chmod(0o660)

    check_directory(volume, pod)
    assert read_key(volume / "portal_token_key", trusted=False, identity=pod) == "a-signing-key-of-tests"
    os.chown(volume, 0, 1)
    volume.chmod(0o2775)
    assert "data_dir: the group " in refusal(volume, pod)


def test_a_directory_that_cannot_be_looked_at_is_refused_in_one_line(tmp_path: Path) -> None:
    """S7: no user can look at a name that is too long, so this works for all users who run the tests."""
    assert refusal(tmp_path / ("x" * 300)).endswith(": File name too long")


def test_whoever_makes_the_directory_makes_it_for_this_user_alone(tmp_path: Path) -> None:
    """S7: with any umask, for the import, the key and the lock."""
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
        load_token_keys(load_settings(overrides={"data_dir": tmp_path / "keys" / "data"}))
        DirectoryLock(tmp_path / "lock" / "data").release()
        event_file = tmp_path / "e.ndjson"
        event_file.write_text("{}\n")
        positions(tmp_path / "import" / "data", event_file).save(ImportPosition(row=1))
    finally:
        os.umask(before)

    made = ["a", "a/b", "keys", "keys/data", "lock", "lock/data", "import", "import/data", "import/data/imports"]
    assert {name: oct(stat.S_IMODE((tmp_path / name).stat().st_mode)) for name in made} == dict.fromkeys(made, "0o700")


def positions(data: Path, event_file: Path, trusted: bool = False) -> PositionFile:
    file = EventFile(event_file, None, ColumnMapping(None, None, None, None, None))
    return PositionFile(data, file, ColumnMapping(None, None, None, None, None), trusted=trusted)


def test_the_lock_follows_no_link(tmp_path: Path) -> None:
    """S7: before, the content of the link's target was lost."""
    victim = tmp_path / "victim"
    victim.write_text("text")
    data = with_mode(tmp_path / "data", 0o700)
    (data / "lock").symlink_to(victim)

    with pytest.raises(ConfigurationError, match="lock is a symbolic link"):
        DirectoryLock(data)

    assert victim.read_text() == "text"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o606, 0o660, 0o666])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """S7: as ssh refuses such a private key. The group root counts as root."""
    data = with_mode(tmp_path / "data", 0o700)
    kept = data / "portal_token_key"
    kept.write_text("a-signing-key-of-tests")
    kept.chmod(mode)
    refused = bool(mode & 0o006) or not ME.has_private_group(kept.stat().st_gid)

    settings = load_settings(overrides={"data_dir": data})
    if refused:
        with pytest.raises(ConfigurationError, match=f"can read or change .*portal_token_key: run chmod 600 {kept}"):
            load_token_keys(settings)
    else:
        assert load_token_keys(settings) == ["a-signing-key-of-tests"]
    assert load_token_keys(settings.model_copy(update={"trust_data_dir": True})) == ["a-signing-key-of-tests"]


def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    """S7."""
    kept = tmp_path / "key"
    kept.write_text("attackers-known-signing-key-0001")
    kept.chmod(0o600)
    if ME.uid == 0:
        os.chown(kept, 54_321, 54_321)

    with pytest.raises(ConfigurationError, match="belongs to"):
        read_key(kept, trusted=False, identity=Identity(54_322, frozenset({54_322})))


@pytest.mark.parametrize("use", ["lock", "key", "position", "next position"])
def test_each_use_of_a_directory_that_others_may_write_is_refused_unless_it_is_trusted(
    tmp_path: Path, use: str
) -> None:
    """S7: otherwise a position planted by another user could make an import skip all rows."""
    data = with_mode(tmp_path / "data", 0o777)
    event_file = tmp_path / "e.ndjson"
    event_file.write_text("{}\n")

    def used(trusted: bool) -> None:
        if use == "lock":
            DirectoryLock(data, trusted).release()
        elif use == "key":
            load_token_keys(load_settings(overrides={"data_dir": data, "trust_data_dir": trusted}))
        elif use == "position":
            positions(data, event_file, trusted).load()
        else:
            positions(data, event_file, trusted).save(ImportPosition(row=1))

    with pytest.raises(ConfigurationError, match="every user can write to"):
        used(trusted=False)
    assert list(data.iterdir()) == []
    used(trusted=True)
