"""Which file system a path lies on, from the kernel's table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from skyrelay.mounts import (
    MountChanges,
    file_system_of,
    hides_changes,
    is_network_file_system,
    mounts_below,
    read_mounts,
)

_TABLE = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:21 / /proc rw - proc proc rw
30 21 8:2 / {root}/data rw - xfs /dev/sdb1 rw
31 30 0:50 / {root}/data/telescope rw master:2 propagate_from:1 - cifs //192.0.2.7/EMMC rw
32 21 0:51 / {root}/with\\040space\\134and\\011tab rw - nfs4 nas:/stacks rw
33 21 0:52 / {root}/covered rw - nfs nas:/old rw
34 21 0:53 / {root}/covered rw - tmpfs tmpfs rw
35 21 0:54 / {root}/über rw - fuse.sshfs me@host: rw
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(_TABLE.format(root=tmp_path), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "ext4"),
        ("data", "xfs"),
        ("data/skyrelay.db", "xfs"),
        ("data/telescope", "cifs"),
        ("data/telescope/MyWorks/not yet", "cifs"),
        ("data/telescope2", "xfs"),
        ("data/../elsewhere", "ext4"),
        ("with space\\and\ttab/x", "nfs4"),
        ("covered/x", "tmpfs"),
        ("über/x", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_last_mount_counts(tmp_path: Path, table: Path, path: str, kind: str) -> None:
    assert file_system_of(tmp_path / path, table) == kind


def test_a_link_leads_where_it_leads(tmp_path: Path, table: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data" / "telescope")
    assert file_system_of(tmp_path / "link" / "x.fit", table) == "cifs"


def test_without_a_table_the_kind_is_unknown(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "nowhere") == "unknown"


def test_this_machines_own_table_is_read() -> None:
    assert file_system_of(Path("/proc/self")) == "proc"


@pytest.mark.parametrize("kind", ["cifs", "smb3", "nfs", "nfs4", "9p", "fuse", "fuse.sshfs", "davfs"])
def test_file_systems_of_other_machines(kind: str) -> None:
    assert is_network_file_system(kind)
    assert hides_changes(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "vfat", "zfs", "fuseblk", "unknown"]
)
def test_file_systems_of_this_machine(kind: str) -> None:
    assert not is_network_file_system(kind)
    assert not hides_changes(kind)


@pytest.mark.parametrize("kind", ["virtiofs", "vboxsf", "drvfs", "fakeowner", "autofs"])
def test_what_a_host_shares_hides_changes_and_keeps_locks(kind: str) -> None:
    assert hides_changes(kind)
    assert not is_network_file_system(kind)


def test_mounts_below_a_path(tmp_path: Path, table: Path) -> None:
    mounts = read_mounts(table)
    below = mounts_below(tmp_path / "data", mounts)
    assert [(mount.kind, mount.source) for mount in below] == [("cifs", "//192.0.2.7/EMMC")]
    assert mounts_below(tmp_path / "data" / "telescope", mounts) == []


def test_where_there_is_no_table_nothing_changes(tmp_path: Path) -> None:
    changes = MountChanges(tmp_path / "nowhere")
    assert not changes.happened()
    changes.close()
