"""What lies below a root, compared with what was said of it: events are hints, this is the truth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from skyrelay.logs import get_logger
from skyrelay_watcher.fits_look import Stamp, as_stamp, is_fits_name
from skyrelay_watcher.spool import Known, Spool

_log = get_logger(__name__)

Offer = Callable[[str, Stamp], None]


class FolderScan:
    """Walks one root, a step at a time, so that the one who walks can do other things between.

    Parameters
    ----------
    root
        As configured; the journal's key.
    top
        The root's real folder, absolute, without a slash at its end.
    recursive
        Whether folders below it count. Symbolic links are not followed.
    spool
        The journal; files and folders that are gone are dropped from it.
    epoch
        Of the stream; `None` while it is not known.
    offer
        Told the absolute path and stamp of each FITS file that has something new to say.
    """

    def __init__(
        self, root: str, top: str, *, recursive: bool, spool: Spool, epoch: str | None, offer: Offer
    ) -> None:
        self._root, self._top, self._recursive = root, top, recursive
        self._spool, self._epoch, self._offer = spool, epoch, offer
        self._found_any = False
        self._visited: set[str] = set()
        self._unlistable: set[str] = set()

    def everything(self) -> Iterator[None]:
        """Walk the whole root, then forget the folders that are gone; a step is one directory entry."""
        yield from self.below("")
        # An empty root is likelier a mount point without its mount than a folder that somebody emptied.
        if self._found_any:
            self._forget_folders()

    def below(self, folder: str) -> Iterator[None]:
        """Walk one folder (relative to the root) and those below it."""
        folders = [folder]
        while folders:
            place = folders.pop()
            try:
                yield from self._one(place, folders)
            except FileNotFoundError:
                self._unlistable.add(place)  # gone between listing and looking: the next scan will tell
            except OSError as error:  # a failed listing is no empty folder
                self._unlistable.add(place)
                _log.warning(
                    "a folder cannot be listed", folder=repr(place), root=self._root, problem=error.strerror
                )

    def _one(self, folder: str, folders: list[str]) -> Iterator[None]:
        known = self._spool.known_in(self._root, folder)
        present: set[str] = set()
        with os.scandir(f"{self._top}/{folder}") as entries:
            for entry in entries:
                if self._sees_file(entry, known):
                    present.add(entry.name)
                elif self._recursive and entry.is_dir(follow_symlinks=False):
                    folders.append(f"{folder}/{entry.name}" if folder else entry.name)
                self._found_any = True
                yield
        self._visited.add(folder)
        gone = known.keys() - present
        if gone and (folder or self._found_any):
            self._spool.forget(self._root, folder, gone)

    def _sees_file(self, entry: os.DirEntry[str], known: dict[str, Known]) -> bool:
        if not is_fits_name(entry.name) or not entry.is_file(follow_symlinks=False):
            return False
        try:
            stamp = as_stamp(entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return False
        before = known.get(entry.name)
        if before is None or not before.covers(stamp, self._epoch):
            self._offer(entry.path, stamp)
        return True

    def _forget_folders(self) -> None:
        for folder in self._spool.folders(self._root):
            if folder not in self._visited and not self._may_be_there(folder):
                self._spool.forget_folder(self._root, folder)

    def _may_be_there(self, folder: str) -> bool:
        return any(
            folder == place or not place or folder.startswith(f"{place}/") for place in self._unlistable
        )
