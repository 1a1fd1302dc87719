"""File systems that a test mounts and takes away again; root only."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyrelay.mounts import read_mounts
from support.left_out import left_out

_DETACH = 2  # MNT_DETACH of <sys/mount.h>: also while somebody hangs in it
_IMAGE_BYTES = 16 * 2**20


def need_mounts(folder: Path) -> None:
    """Leave the test out where nothing can be mounted."""
    if os.geteuid() != 0:
        left_out("mounting a file system needs root")
    (folder / "probe").mkdir()
    if _mount(str(folder), folder / "probe", "--bind"):
        unmount(folder / "probe")
    else:
        left_out("this container may not mount file systems", may_be_required=False)


def bind(source: Path, point: Path) -> None:
    """Show ``source`` at ``point``."""
    assert _mount(str(source), point, "--bind")


def make_image(file: Path) -> Path:
    """Make an ext4 file system in a file."""
    if shutil.which("mkfs.ext4") is None:
        left_out("mkfs.ext4 is not installed: install the package e2fsprogs")
    with file.open("wb") as image:
        image.truncate(_IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", str(file)], check=True)
    return file


def mount_image(file: Path, point: Path) -> None:
    """Mount an image."""
    if not _mount(str(file), point, "-o", "loop"):
        left_out("there is no loop device", may_be_required=False)


def unmount(point: Path) -> None:
    """Take away what is mounted last at ``point``, also while it is in use."""
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def _mount(source: str, point: Path, *options: str) -> bool:
    done = subprocess.run(["mount", *options, source, str(point)], check=False, capture_output=True)
    return done.returncode == 0


class HangingMount:
    """A FUSE file system whose server never answers, as a network mount whose other side is gone."""

    def __init__(self, point: Path) -> None:
        self.point = point
        try:
            self._server: int | None = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            left_out(f"there is no FUSE here ({error.strerror})", may_be_required=False)
        options = f"fd={self._server},rootmode=40000,user_id=0,group_id=0"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"gone", os.fsencode(point), b"fuse", 0, options.encode()) != 0:
            self.die()
            left_out(
                f"FUSE cannot be mounted here ({os.strerror(ctypes.get_errno())})", may_be_required=False
            )

    def die(self) -> None:
        """Have the server's process end: whoever waits is told that nothing is connected."""
        server, self._server = self._server, None
        if server is not None:
            os.close(server)

    def take_away(self) -> None:
        """Unmount it."""
        self.die()
        ctypes.CDLL(None).umount2(os.fsencode(self.point), _DETACH)


@contextmanager
def hanging_mount(point: Path) -> Iterator[HangingMount]:
    """Give such a mount, and take it away at the end."""
    mount = HangingMount(point)
    try:
        yield mount
    finally:
        mount.take_away()


@contextmanager
def unmounted_at_last(point: Path) -> Iterator[None]:
    """Take away whatever the test leaves mounted."""
    try:
        yield
    finally:
        while _is_mounted(point):
            unmount(point)


def _is_mounted(point: Path) -> bool:
    return any(mount.point == point for mount in read_mounts())
