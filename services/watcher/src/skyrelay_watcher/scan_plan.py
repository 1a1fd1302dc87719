"""When which part of a root is listed: asked for, told of, changed, or because it is time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from skyrelay.service import utc_now
from skyrelay_watcher.fits_look import Stamp
from skyrelay_watcher.folder_marks import FolderMarks
from skyrelay_watcher.folder_scan import FolderScan
from skyrelay_watcher.places import Place
from skyrelay_watcher.spool import Spool

SCAN_EVERY = timedelta(minutes=3)  # everything, whatever the folders' times and the hints say
COMPARE_EVERY = timedelta(seconds=5)  # folders' times, where the kernel does not tell
_CHANGE_PAUSE_S = 0.5  # between two listings that hints ask for: a slow writer gives many
_STEPS = 500  # directory entries between two looks at what is due
_DONE = object()


class ScanPlan:
    """Does one root's scans, a portion at a time.

    Parameters
    ----------
    root
        As configured.
    journal
        What was said.
    recursive
        Whether folders below count.
    offer
        Told of each file that has something new to say.
    scan_every
        How often everything is listed; unset: every few minutes.
    """

    def __init__(
        self,
        root: str,
        journal: Spool,
        *,
        recursive: bool,
        offer: Callable[[str, Stamp | None], None],
        scan_every: timedelta | None = None,
    ) -> None:
        self._root, self._journal, self._recursive, self._offer = root, journal, recursive, offer
        self._scan_every_s = (scan_every or SCAN_EVERY).total_seconds()
        self._asked = threading.Event()
        self._new_folders: set[str] = set()
        self._changed_folders: set[str] = set()
        self._place: Place | None = None
        self._lists_often = False
        self._is_emptied: Callable[[], bool] = _never
        self._scan: Iterator[None] | None = None
        self._next_full_s = self._next_compare_s = self._next_change_s = 0.0
        self.marks = FolderMarks()
        self.epoch: str | None = None

    def ask(self) -> None:
        """Want everything to be listed; from any thread."""
        self._asked.set()

    def see_new_folder(self, path: str) -> None:
        """Want a folder to be listed, and all below it; from any thread."""
        self._new_folders.add(path)

    def see_change(self, path: str) -> None:
        """Want a folder to be listed; from any thread."""
        self._changed_folders.add(path)

    def enter(self, place: Place, *, lists_often: bool, is_emptied: Callable[[], bool]) -> None:
        """Take in which place there is, and list everything in it."""
        self.leave()
        self._place, self._lists_often, self._is_emptied = place, lists_often, is_emptied
        self.ask()

    def leave(self) -> None:
        """Stop, and forget what was seen."""
        self._scan = self._place = None
        self._new_folders.clear()
        self._changed_folders.clear()
        self.marks.clear()

    @property
    def has_work(self) -> bool:
        """Whether there is something to list now."""
        return self._place is not None and (self._scan is not None or self._is_due())

    def go_on(self, has_room: Callable[[], bool]) -> None:
        """Do one portion, as long as there is room for what it may find."""
        for _step in range(_STEPS):
            if not has_room():
                return
            self._scan = self._scan or self._next()
            if self._scan is None:
                return
            if next(self._scan, _DONE) is _DONE:
                self._scan = None

    def _is_due(self) -> bool:
        now_s = time.monotonic()
        return (
            self._asked.is_set()
            or bool(self._new_folders)
            or now_s >= self._next_full_s
            or (bool(self._changed_folders) and now_s >= self._next_change_s)
            or (self._lists_often and now_s >= self._next_compare_s)
        )

    def _next(self) -> Iterator[None] | None:
        place, now_s = self._place, time.monotonic()
        if place is None:
            return None
        if self._asked.is_set() or now_s >= self._next_full_s:
            self._asked.clear()
            self._next_full_s = now_s + self._scan_every_s
            return self._folder_scan(place).everything()
        if self._new_folders:
            return self._folder_scan(place).below(_relative(place, self._new_folders.pop()))
        if self._changed_folders and now_s >= self._next_change_s:
            self._next_change_s = now_s + _CHANGE_PAUSE_S
            return self._folder_scan(place).one(_relative(place, self._changed_folders.pop()))
        if self._lists_often and now_s >= self._next_compare_s:
            self._next_compare_s = now_s + COMPARE_EVERY.total_seconds()
            return self._folder_scan(place).changes()
        return None

    def _folder_scan(self, place: Place) -> FolderScan:
        return FolderScan(
            self._root,
            place,
            recursive=self._recursive,
            journal=self._journal,
            epoch=self.epoch,
            offer=self._offer,
            marks=self.marks,
            may_be_emptied=self._is_emptied(),
            now=utc_now(),
        )


def _never() -> bool:
    return False


def _relative(place: Place, path: str) -> str:
    return path[len(place.top) + 1 :]
