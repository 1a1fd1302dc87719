"""A folder of this machine, or of a mount: what is in it, and whether it is still the same one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from skyrelay.mounts import Mount, MountChanges, hides_changes, mount_of, mounts_below, read_mounts
from skyrelay_watcher.fits_look import Look, Stamp, as_stamp, is_fits_name, look_at, stamp_of
from skyrelay_watcher.native_events import native_events
from skyrelay_watcher.places import Entry, Hints, Kind, Listener, Mark, PlaceLost

# What a mount answers whose other side is gone, or that is gone itself.
_LOST = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENODEV,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_OTHER = Entry("", Kind.OTHER)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """One folder, as long as it is the same.

    Attributes
    ----------
    top
        Its real path, absolute, without a slash at its end.
    device, inode
        Which folder it is.
    is_remote
        Whether its files live on another machine.
    backend, lists_often
        As in `places.Place`.
    generation
        Which of the mounts at or below this path these are.
    """

    top: str
    device: int
    inode: int
    is_remote: bool
    backend: str
    lists_often: bool
    generation: int

    @property
    def identity(self) -> str | None:
        """Device and inode; a mount of another machine's gets a new device each time."""
        return None if self.is_remote else f"{self.device}:{self.inode}"

    def is_empty(self) -> bool:
        """Tell whether there is nothing at all in it."""
        return self._ask(lambda: _has_no_entry(self._folder("")))

    def mark(self, folder: str) -> Mark:
        """Give the folder's mark."""
        found = self._ask(lambda: os.lstat(self._folder(folder)))
        return Mark(found.st_dev, found.st_ino, found.st_mtime_ns)

    def entries(self, folder: str) -> Iterator[Entry]:
        """List a folder; symbolic links are neither files nor folders."""
        try:
            with os.scandir(self._folder(folder)) as entries:
                for entry in entries:
                    yield _entry(entry)
        except OSError as error:
            self._check_lost(error)
            raise

    def stamp(self, path: str) -> Stamp | None:
        """Give the stamp of the regular file at ``path``."""
        return stamp_of(path)

    def look(self, path: str) -> Look | None:
        """Look at a file."""
        look = look_at(path, self.top)
        if look is not None and look.may_pass and self.is_remote:
            # It cannot be read just now. If that is because the other side is gone, that is no word on it.
            self.mark("")
        return look

    def listen(self, hints: Hints, *, recursive: bool) -> Listener | None:
        """Hear the kernel's events, where it has any."""
        if self.backend == "snapshot":
            return None
        events = native_events(Path(self.top or "/"), recursive=recursive, hints=hints)
        events.start()
        return events

    def _folder(self, folder: str) -> str:
        return f"{self.top}/{folder}"

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except OSError as error:
            self._check_lost(error)
            raise

    def _check_lost(self, error: OSError) -> None:
        if self.is_remote and error.errno in _LOST:
            raise PlaceLost(error.strerror) from error


class LocalSource:
    """Finds the folder at a path; links on the way to it are followed, as its owner set them.

    Parameters
    ----------
    path
        Of the root, as configured.
    backend
        ``native``: the kernel's events; ``snapshot``: listings compared; ``auto``: by the mount's type.
    """

    def __init__(self, path: Path, backend: str) -> None:
        self._path, self._backend = path, backend
        self._changes = MountChanges()
        self._mounts: tuple[Mount, ...] = ()
        self._generation = 0
        self._top: Path | None = None

    def find(self) -> LocalPlace | None:
        """Give the place that is there now; `None` when there is no folder that can be listed."""
        try:
            top = self._path.resolve(strict=True)
            _has_no_entry(str(top))  # a mount that is made on demand is made by this
            found = os.stat(top)  # noqa: PTH116 - once, for all that we ask
        except (OSError, RuntimeError):  # RuntimeError: a loop of links
            self._top = None
            return None
        self._meet_mounts(top)
        return self._place(top, found)

    def close(self) -> None:
        """Let go of the kernel's table."""
        self._changes.close()

    def _meet_mounts(self, top: Path) -> None:
        """Read the table of mounts when it changed; what was mounted anew is another place."""
        happened = self._changes.happened()
        if not happened and top == self._top:
            return
        table = read_mounts()
        holding = mount_of(top, table)
        mounts = tuple(mount for mount in (holding, *mounts_below(top, table)) if mount is not None)
        only_the_root = len(mounts) == 1 and str(mounts[0].point) == "/"
        if mounts != self._mounts or (happened and not only_the_root):
            self._generation += 1
        self._top, self._mounts = top, mounts

    def _place(self, top: Path, found: os.stat_result) -> LocalPlace:
        holding = next((mount for mount in self._mounts if top.is_relative_to(mount.point)), None)
        is_remote = holding is not None and hides_changes(holding.kind)
        backend = self._backend
        if backend == "auto":
            backend = "snapshot" if is_remote else "native"
        blind_below = self._backend == "auto" and any(hides_changes(mount.kind) for mount in self._mounts)
        return LocalPlace(
            top=str(top).rstrip("/"),
            device=found.st_dev,
            inode=found.st_ino,
            is_remote=is_remote,
            backend=backend,
            lists_often=backend == "snapshot" or blind_below,
            generation=self._generation,
        )


def _has_no_entry(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _entry(entry: os.DirEntry[str]) -> Entry:
    if is_fits_name(entry.name) and entry.is_file(follow_symlinks=False):
        try:
            return Entry(entry.name, Kind.FITS, as_stamp(entry.stat(follow_symlinks=False)))
        except FileNotFoundError:
            return _OTHER
    return Entry(entry.name, Kind.FOLDER) if entry.is_dir(follow_symlinks=False) else _OTHER
