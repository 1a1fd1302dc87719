"""What kind of file system a path lies on, read from ``/proc/self/mountinfo``."""

from __future__ import annotations

import re
from pathlib import Path

# inotify does not see what the other side writes there, and SQLite's locks do not hold.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "davfs",
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
MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def file_system_of(path: Path, mountinfo: Path = MOUNTINFO) -> str:
    """Name the type of the file system that ``path`` lies on (``ext4``, ``cifs``, …).

    Parameters
    ----------
    path
        It need not exist; the mount that would hold it counts.
    mountinfo
        The kernel's table; where there is none (not Linux) the answer is ``unknown``.
    """
    try:
        table = mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return "unknown"
    where = path.resolve()
    best, kind = -1, "unknown"
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        mount_point = Path(_ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), before.split(" ")[4]))
        # A later line lies on top of an earlier one at the same place.
        if where.is_relative_to(mount_point) and len(mount_point.parts) >= best:
            best, kind = len(mount_point.parts), after.split(" ")[0]
    return kind


def is_network_file_system(kind: str) -> bool:
    """Tell whether a file system of that type lives on another machine (or behind FUSE)."""
    return kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.")
