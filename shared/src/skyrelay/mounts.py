"""What kind of file system a path lies on, and when that changes, from ``/proc/self/mountinfo``."""

from __future__ import annotations

import os
import re
import select
from dataclasses import dataclass
from pathlib import Path

# SQLite's locks do not hold there, and inotify does not see what the other side writes.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "davfs",
        "fuse",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)
# A virtual machine's view of its host's folders, or what stands where a mount is yet to come.
_SHARED_BY_THE_HOST = frozenset({"autofs", "drvfs", "fakeowner", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"})
MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the kernel's table."""

    mount_id: int
    point: Path
    kind: str
    source: str


def read_mounts(mountinfo: Path = MOUNTINFO) -> list[Mount]:
    """Give all mounts, later ones on top of earlier ones; none where there is no table (not Linux)."""
    try:
        table = mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    return [_mount(line) for line in table.splitlines()]


def mount_of(where: Path, mounts: list[Mount]) -> Mount | None:
    """Give the mount that holds ``where``, a path without links; it need not exist."""
    holding = [mount for mount in mounts if where.is_relative_to(mount.point)]
    # A later line lies on top of an earlier one at the same place: `max` gives the first of equals.
    return max(reversed(holding), key=lambda mount: len(mount.point.parts), default=None)


def mounts_below(where: Path, mounts: list[Mount]) -> list[Mount]:
    """Give the mounts that lie deeper than ``where``, a path without links."""
    return [mount for mount in mounts if mount.point != where and mount.point.is_relative_to(where)]


def file_system_of(path: Path, mountinfo: Path = MOUNTINFO) -> str:
    """Name the type of the file system that ``path`` lies on (``ext4``, ``cifs``, …).

    Parameters
    ----------
    path
        It need not exist; the mount that would hold it counts.
    mountinfo
        The kernel's table; where there is none (not Linux) the answer is ``unknown``.
    """
    mount = mount_of(path.resolve(), read_mounts(mountinfo))
    return mount.kind if mount else "unknown"


def is_network_file_system(kind: str) -> bool:
    """Tell whether a file system of that type lives on another machine (or behind FUSE)."""
    return kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.")


def hides_changes(kind: str) -> bool:
    """Tell whether files may appear on a file system of that type without this kernel's seeing it."""
    return is_network_file_system(kind) or kind in _SHARED_BY_THE_HOST


class MountChanges:
    """Notices that anything was mounted or unmounted; the kernel counts, so that nothing is missed."""

    def __init__(self, mountinfo: Path = MOUNTINFO) -> None:
        self._table = _open(mountinfo)

    def happened(self) -> bool:
        """Tell whether the table changed since the last time we asked."""
        if self._table is None:
            return False
        poll = select.poll()
        poll.register(self._table, select.POLLPRI)
        return any(event & select.POLLERR for _file, event in poll.poll(0))

    def close(self) -> None:
        """Let go of the table."""
        table, self._table = self._table, None
        if table is not None:
            os.close(table)


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    mount_id, _parent, _device, _root, point, *_ = before.split(" ")
    kind, source, *_ = [*after.split(" "), ""]
    return Mount(int(mount_id), Path(_unescaped(point)), kind, _unescaped(source))


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), text)


def _open(mountinfo: Path) -> int | None:
    try:
        return os.open(mountinfo, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
