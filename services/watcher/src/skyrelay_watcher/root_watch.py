"""One watched root: its events, its scans and its looks, all in one thread of its own.

A thread a root (never a thread a file), so that a folder that hangs holds up itself alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from skyrelay.logs import get_logger
from skyrelay.mounts import file_system_of, is_network_file_system
from skyrelay.service import utc_now
from skyrelay.settings import WatchRoot
from skyrelay_watcher.fits_look import Look, look_at
from skyrelay_watcher.folder_scan import FolderScan
from skyrelay_watcher.frame_events import as_text, frame_event
from skyrelay_watcher.native_events import NativeEvents
from skyrelay_watcher.quiet_paths import Quiet, QuietPaths, look_again
from skyrelay_watcher.spool import FileKey, Known, Sighting, Spool

_log = get_logger(__name__)

SCAN_EVERY = timedelta(minutes=3)
NETWORK_SCAN_EVERY = timedelta(seconds=30)  # there the kernel tells nothing, so listing is all we have
CHECK_EVERY = timedelta(seconds=2)  # whether the root is (still, again) there; one stat
_TURN_S = 1.0
_BATCH = 200  # files looked at between two commits
_SCAN_STEPS = 500  # directory entries between two looks at what is due
_SCAN_AHEAD = 10_000  # a scan pauses while that many files wait: memory stays bounded
_MOST_WAITING = 50_000  # beyond that, events only say "scan again"
_BURST = 2_000  # the kernel's queue (16,384 events by default) may have overflowed: scan afterwards


class RootState(StrEnum):
    """How a root is doing, in words that the dashboard shows."""

    STARTING = "starting"
    WATCHING = "watching"
    MISSING = "missing"
    SCANNING_ONLY = "scanning only"  # the kernel gives no events (its limits): found at scans, minutes late
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder that is there now: another mount or folder at the same path is another place."""

    top: str
    device: int
    inode: int


class RootWatch:
    """Watches one root and puts what it sees into the spool.

    Parameters
    ----------
    root
        The folder, and the telescope that its frames belong to.
    spool
        Where events go, and what is known already.
    recursive, delay_s
        As in the settings; seconds.
    on_spooled
        Called when there is something in the spool to publish.
    scan_every
        How often everything is compared; unset: by the kind of file system.
    """

    def __init__(
        self,
        root: WatchRoot,
        *,
        spool: Spool,
        recursive: bool,
        delay_s: float,
        on_spooled: threading.Event,
        scan_every: timedelta | None = None,
    ) -> None:
        self.root = str(root.path)
        self._path, self._telescope = root.path, root.telescope
        self._spool, self._recursive, self._on_spooled = spool, recursive, on_spooled
        self._scan_every = scan_every
        self._quiet = QuietPaths(delay_s)
        self._stopping = threading.Event()
        self._scan_asked = threading.Event()
        self._new_folders: set[str] = set()
        self._epoch: str | None = None
        self._place: _Place | None = None
        self._events: NativeEvents | None = None
        self._scan: Iterator[None] | None = None
        self._next_check_s = self._next_scan_s = self._turned_s = time.monotonic()
        self._burst = False
        self._last_failure = ""
        self._thread = threading.Thread(target=self._run, name=f"root:{as_text(self.root)}", daemon=True)
        self.state = RootState.STARTING

    @property
    def waiting(self) -> int:
        """How many files wait to be quiet."""
        return len(self._quiet)

    @property
    def scanning(self) -> bool:
        """Whether a scan is asked for or under way."""
        return self._scan_asked.is_set() or self._scan is not None

    def idle_for(self) -> timedelta:
        """Tell how long ago the loop turned; it turns every second, and within every long piece of work."""
        return timedelta(seconds=time.monotonic() - self._turned_s)

    def start(self) -> None:
        """Begin; a root that is not there is looked for every few seconds."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the loop to end; `join` waits for it."""
        self._stopping.set()
        self._quiet.wake()

    def join(self, within_s: float) -> bool:
        """Wait for the loop's end; `False` when it hangs (in a dead mount, say)."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def meet_epoch(self, epoch: str) -> None:
        """Take in which stream there is now: everything that it has not got is offered again."""
        self._epoch = epoch
        self.scan_soon()

    def scan_soon(self) -> None:
        """Ask for a scan of everything."""
        self._scan_asked.set()
        self._quiet.wake()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - whatever it is, this root is tried again, the others go on
                self._fail(error)
        self._stop_events()

    def _turn(self) -> None:
        self._turned_s = time.monotonic()
        if self._turned_s >= self._next_check_s:
            self._next_check_s = self._turned_s + CHECK_EVERY.total_seconds()
            self._check_place()
        if self._place is not None:
            self._go_on_scanning()
        self._look_at_due(self._quiet.take(_BATCH, 0.0 if self._can_scan() else _TURN_S))

    def _fail(self, error: Exception) -> None:
        if repr(error) != self._last_failure:  # said once, not every two seconds
            _log.exception("a root fails; it is tried again", root=as_text(self.root))
        self._last_failure = repr(error)
        self.state = RootState.FAILING
        self._leave_place()
        self._stopping.wait(CHECK_EVERY.total_seconds())

    # --- the place itself

    def _check_place(self) -> None:
        place = _find_place(self._path)
        if place is None:
            self._miss()
        elif place != self._place:
            self._leave_place()
            self._enter(place)
        elif self._events is None or not self._events.alive:
            self._stop_events()
            self._start_events(place)

    def _miss(self) -> None:
        if self.state is not RootState.MISSING:
            _log.error(
                "a watched folder is not there; looking for it again and again", root=as_text(self.root)
            )
        self.state = RootState.MISSING
        self._leave_place()

    def _enter(self, place: _Place) -> None:
        _log.info("watching a folder", root=as_text(self.root), recursive=self._recursive)
        self._place = place
        self._start_events(place)

    def _leave_place(self) -> None:
        self._stop_events()
        self._quiet.clear()
        self._new_folders.clear()
        self._scan = self._place = None

    def _start_events(self, place: _Place) -> None:
        events = NativeEvents(
            Path(place.top or "/"), recursive=self._recursive, quiet=self._quiet, on_folder=self._see_folder
        )
        try:
            events.start()
        except (OSError, RuntimeError) as error:
            self._go_without_events(error)
            return
        self._events, self.state = events, RootState.WATCHING
        self._scan_asked.set()  # what came before the watch began, or while there was none

    def _go_without_events(self, error: Exception) -> None:
        if self.state is not RootState.SCANNING_ONLY:
            _log.error(
                "no events for a folder: new files are found late",
                root=as_text(self.root),
                problem=str(error),
            )
            self._scan_asked.set()
        self.state = RootState.SCANNING_ONLY

    def _stop_events(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            events.stop()

    # --- scans

    def _see_folder(self, path: str) -> None:
        self._new_folders.add(path)
        self._quiet.wake()

    def _can_scan(self) -> bool:
        work = self._scan is not None or self._scan_asked.is_set() or bool(self._new_folders)
        return work and self._place is not None and len(self._quiet) < _SCAN_AHEAD

    def _go_on_scanning(self) -> None:
        self._mind_bursts()
        if self._scan is None:
            self._scan = self._next_scan()
        for _step in range(_SCAN_STEPS):
            if self._scan is None or len(self._quiet) >= _SCAN_AHEAD:
                return
            if next(self._scan, _DONE) is _DONE:
                self._scan = None

    def _mind_bursts(self) -> None:
        waiting = len(self._quiet)
        self._burst = self._burst or waiting > _BURST
        if waiting > _MOST_WAITING:
            self._quiet.clear()
        if self._burst and (not waiting or waiting > _MOST_WAITING):
            self._burst = False
            self._scan_asked.set()

    def _next_scan(self) -> Iterator[None] | None:
        if self._scan_asked.is_set() or time.monotonic() >= self._next_scan_s:
            self._scan_asked.clear()
            self._next_scan_s = time.monotonic() + self._period().total_seconds()
            return self._folder_scan().everything()
        if self._new_folders:
            return self._folder_scan().below(self._relative(self._new_folders.pop()))
        return None

    def _period(self) -> timedelta:
        if self._scan_every is not None:
            return self._scan_every
        return NETWORK_SCAN_EVERY if is_network_file_system(file_system_of(self._path)) else SCAN_EVERY

    def _folder_scan(self) -> FolderScan:
        return FolderScan(
            self.root,
            self._top(),
            recursive=self._recursive,
            spool=self._spool,
            epoch=self._epoch,
            offer=self._quiet.offer,
        )

    # --- looks

    def _look_at_due(self, due: Sequence[Quiet]) -> None:
        if self._place is None:
            return
        sightings = []
        for quiet in due:
            self._turned_s = time.monotonic()
            sighting = self._see(quiet)
            if sighting is not None:
                sightings.append(sighting)
        if sightings:
            # A full disk fails the root; what was seen here is found again by the scan that follows.
            self._spool.add(sightings)
            self._on_spooled.set()
            self._last_failure = ""

    def _see(self, quiet: Quiet) -> Sighting | None:
        key = self._key(quiet.path)
        known = self._spool.known(key)
        if known is not None and quiet.stamp is not None and known.covers(quiet.stamp, self._epoch):
            return None
        look = look_at(quiet.path)
        if look is None:
            self._see_none(quiet)
            return None
        if not look.stamp.has_same_content(quiet.stamp):
            self._quiet.offer(quiet.path, look.stamp)
            return None
        return None if self._was_said(known, look) else self._sighting(key, look)

    def _see_none(self, quiet: Quiet) -> None:
        if not look_again(quiet.path, self._quiet):
            _log.debug("a file is gone before its turn, or no regular file", path=as_text(quiet.path))

    def _was_said(self, known: Known | None, look: Look) -> bool:
        return (
            known is not None
            and known.is_of(self._epoch)
            and known.problem == look.problem
            and look.stamp.has_same_content(known.stamp)
        )

    def _sighting(self, key: FileKey, look: Look) -> Sighting:
        event = frame_event(key, look, telescope=self._telescope, now=utc_now())
        if look.problem is not None:
            _log.warning("a file cannot be read", root=event.root, path=event.path, problem=look.problem)
        stamp = look.stamp.never_matching() if look.may_pass else look.stamp
        return Sighting(key, stamp, look.problem, event.model_dump_json())

    def _key(self, path: str) -> FileKey:
        folder, _, name = self._relative(path).rpartition("/")
        return FileKey(self.root, folder, name)

    def _relative(self, path: str) -> str:
        return path[len(self._top()) + 1 :]

    def _top(self) -> str:
        if self._place is None:
            raise RuntimeError("there is no place to scan")  # the loop asks only while there is one
        return self._place.top


_DONE = object()


def _find_place(path: Path) -> _Place | None:
    """Give the folder at ``path``; links on the way to it are followed, as its owner set them."""
    try:
        top = path.resolve(strict=True)
        found = os.stat(top)  # noqa: PTH116 - once, for all that we ask
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return None
    return _Place(str(top).rstrip("/"), found.st_dev, found.st_ino) if top.is_dir() else None
