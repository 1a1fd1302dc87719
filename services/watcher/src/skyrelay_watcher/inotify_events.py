"""What Linux says of a local folder, taken where watchdog reads it from the kernel.

Watchdog's own way from there to a handler has three threads, and a queue that is searched from its
beginning for each rename: 2,000 quick ones cost it three processor seconds and half-second pauses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from skyrelay_watcher.fits_look import is_fits_name, stamp_of
from skyrelay_watcher.places import Hints

_ARRIVED = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
_ENDED = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_UNMOUNT
# Opening and reading, which we do ourselves, never reaches Python.
_WANTED = Mask(
    _ARRIVED
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
    | InotifyConstants.IN_EXCL_UNLINK
)
_NO_WATCH = -1  # what watchdog gives for a folder that we may not read
_JOIN_S = 1.0


class InotifyEvents:
    """One folder's events, read and handed on by one thread.

    Parameters
    ----------
    folder
        Its real path.
    recursive
        Whether folders below it count, those that appear later too.
    hints
        Who is told, in the reading thread.
    """

    def __init__(self, folder: Path, *, recursive: bool, hints: Hints) -> None:
        self._folder, self._recursive, self._hints = os.fsencode(folder), recursive, hints
        self._reader: InotifyFD | None = None
        self._folders: dict[WatchDescriptor, bytes] = {}
        self._watches: dict[bytes, WatchDescriptor] = {}
        self._deaf = False

    @property
    def alive(self) -> bool:
        """Whether all that happens is heard: a folder that is gone or a limit of the kernel's ends that."""
        return self._reader is not None and self._reader.is_alive() and not self._deaf

    def start(self) -> None:
        """Begin; what happens from now on is not missed.

        Raises
        ------
        OSError, RuntimeError
            If the folder cannot be watched: gone, the kernel's limit reached, no thread to be had.
        """
        self._reader = InotifyFD()
        self._reader.start()
        try:
            self._watch_tree(self._folder)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End, and join the thread; safe at any time."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
            reader.join(_JOIN_S)

    # --- what the reader calls

    def on_event(self, event: InotifyEvent) -> None:
        """Take in one event."""
        folder = self._folders.get(event.wd)
        if folder is None:
            return
        if not event.name:
            self._deaf = self._deaf or (folder == self._folder and bool(event.mask & _ENDED))
        elif event.mask & InotifyConstants.IN_ISDIR:
            self._see_folder(os.path.join(folder, event.name), event.mask)  # noqa: PTH118 - bytes
        elif is_fits_name(name := os.fsdecode(event.name)):
            self._see_file(f"{os.fsdecode(folder)}/{name}", event.mask)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Take in that a folder is watched no longer, because it is gone or was unmounted."""
        folder = self._folders.pop(wd, None)
        if folder is not None:
            self._watches.pop(folder, None)
        self._deaf = self._deaf or folder == self._folder

    def on_queue_overflow(self) -> None:
        """Take in that the kernel threw events away: everything has to be looked at."""
        self._hear_tree(self._folder)

    def _see_file(self, path: str, mask: int) -> None:
        if mask & InotifyConstants.IN_MOVED_FROM:
            self._hints.quiet.drop(path)
            return
        if mask & _ARRIVED and self._hints.on_arrival is not None:
            self._hints.on_arrival(path)
        # A file that is being written needs no look; its stamp would be stale with the next write.
        self._hints.quiet.touch(path, None if mask & InotifyConstants.IN_MODIFY else stamp_of(path))

    def _see_folder(self, path: bytes, mask: int) -> None:
        if not self._recursive:
            return
        if mask & InotifyConstants.IN_MOVED_FROM:
            self._leave_tree(path)
        elif mask & _ARRIVED:
            self._hear_tree(path)

    def _hear_tree(self, path: bytes) -> None:
        try:
            self._watch_tree(path)
        except OSError:  # the kernel's limit: whoever asks whether we live begins anew, or does without us
            self._deaf = True
        self._hints.on_new_folder(os.fsdecode(path))

    def _watch_tree(self, path: bytes) -> None:
        self._watch(path)
        if self._recursive:
            for folder in _folders_below(path):
                self._watch(folder)

    def _watch(self, path: bytes) -> None:
        reader = self._reader
        if reader is None or path in self._watches:
            return
        try:
            wd = reader.add_callback(path, _WANTED, self, _id(path))
        except (FileNotFoundError, NotADirectoryError):
            if path == self._folder:
                raise
            return  # gone again already
        if wd != _NO_WATCH:
            self._folders[wd], self._watches[path] = path, wd

    def _leave_tree(self, path: bytes) -> None:
        """Forget a folder that has another name now; if that is below the root, it is told of next."""
        left = [folder for folder in self._watches if folder == path or folder.startswith(path + b"/")]
        for folder in left:
            wd = self._watches.pop(folder)
            if self._folders.get(wd) == folder:  # else it is known by its new name already
                del self._folders[wd]
            if self._reader is not None:
                self._reader.remove_callbacks([(wd, _id(folder))])


def _id(folder: bytes) -> CallbackId:
    """Name what a folder's events are for; one that moves may be watched under two names for a moment."""
    return CallbackId(hash(folder))


def _folders_below(path: bytes) -> Iterator[bytes]:
    for place, folders, _files in os.walk(path):
        for name in folders:
            folder = os.path.join(place, name)  # noqa: PTH118 - bytes
            if not os.path.islink(folder):  # noqa: PTH114 - bytes
                yield folder
