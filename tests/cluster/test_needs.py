"""`make cluster` says in one line what a machine lacks. The cluster itself is not run by CI."""

import os
from pathlib import Path

import pytest

from tests.cluster import needs
from tests.harness.services import Unavailable


def test_a_user_without_rights_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(Unavailable) as refused:
        needs.check_machine()

    assert str(refused.value) == "it needs Linux and root"


def test_all_missing_packages_are_named_in_one_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "go").touch(0o755)
    (tmp_path / "helm").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(needs, "HELMS", {4: tmp_path / "helm"})
    monkeypatch.setattr(needs, "CNI_PLUGINS", tmp_path)

    with pytest.raises(Unavailable) as refused:
        needs.check_machine()

    assert str(refused.value) == (
        "apt-get install --no-install-recommends buildah containerd containernetworking-plugins iproute2 iptables "
        "mmdebstrap runc util-linux"
    )
