"""One watched root: its events, its scans and its looks, all in one thread of its own.

A thread a root (never a thread a file), so that a folder that hangs holds up itself alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum

from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import WatchRoot
from skyrelay.smb_path import SmbPath
from skyrelay_watcher.fits_look import Look
from skyrelay_watcher.frame_events import as_text, frame_event
from skyrelay_watcher.local_place import LocalSource
from skyrelay_watcher.places import Hints, Listener, Place, PlaceLost, Source
from skyrelay_watcher.quiet_paths import Quiet, QuietPaths
from skyrelay_watcher.scan_plan import ScanPlan
from skyrelay_watcher.spool import FileKey, Known, Sighting, Spool

_log = get_logger(__name__)

CHECK_EVERY = timedelta(seconds=2)  # whether the root is (still, again) there; one stat, one listing's start
_LISTEN_AGAIN = timedelta(minutes=1)  # the kernel's limits may have been raised
_TURN_S = 1.0
_BATCH = 200  # files looked at between two commits
_SCAN_AHEAD = 10_000  # a scan pauses while that many files wait: memory stays bounded
_MOST_WAITING = 50_000  # beyond that, events only say "scan again"
_BURST = 2_000  # the kernel's queue (16,384 events by default) may have overflowed: scan afterwards
_BLAME_ENOUGH = 2  # a mount may go while any file is read, but twice at the same one is no accident
_BLAMED = 50
_FORGIVEN_AFTER = timedelta(minutes=10)  # it may have been the Wi-Fi after all


class RootState(StrEnum):
    """How a root is doing, in words that the dashboard shows."""

    STARTING = "starting"
    WATCHING = "watching"
    OFFLINE = "offline"  # not there, not to be listed, or a mount point without its mount
    SCANNING_ONLY = "scanning only"  # the kernel gives no events (its limits): folders are compared instead
    FAILING = "failing"


class RootWatch:
    """Watches one root and puts what it sees into the spool.

    Parameters
    ----------
    root
        The folder, and the telescope that its frames belong to.
    spool
        Where events go, and what is known already.
    recursive, backend, delay_s
        As in the settings, where the root itself does not say; seconds.
    on_spooled
        Set when there is something in the spool to publish.
    scan_every
        How often everything is compared; unset: every few minutes.
    """

    def __init__(
        self,
        root: WatchRoot,
        *,
        spool: Spool,
        recursive: bool,
        backend: str,
        delay_s: float,
        on_spooled: threading.Event,
        scan_every: timedelta | None = None,
    ) -> None:
        self.root = str(root.path)
        self._telescope, self._on_spooled = root.telescope, on_spooled
        self._spool = spool.within(self._own_work)
        self._recursive = recursive if root.recursive is None else root.recursive
        self._source = _source(root, root.backend or backend)
        self._quiet = QuietPaths(delay_s)
        self._scans = ScanPlan(
            self.root, self._spool, recursive=self._recursive, offer=self._quiet.offer, scan_every=scan_every
        )
        self._stopping = threading.Event()
        self._place: Place | None = None
        self._listener: Listener | None = None
        self._hears = False  # a listener was to be had, or none is needed
        self._burst = self._remembered = False
        self._next_check_s = self._next_listen_s = self._turned_s = time.monotonic()
        self._asked_s: float | None = None
        self._blamed: deque[str] = deque(maxlen=_BLAMED)
        self._forgive_s = 0.0
        self._last_failure = ""
        self._thread = threading.Thread(target=self._run, name=f"root:{as_text(self.root)}", daemon=True)
        self.state = RootState.STARTING
        self.backend: str | None = None

    @property
    def waiting(self) -> int:
        """How many files wait to be quiet."""
        return len(self._quiet)

    def idle_for(self) -> timedelta:
        """Tell how long ago the loop turned; it turns every second, and within every long piece of work.

        Zero while the place owes us an answer: of that `asks_for` tells.
        """
        is_asking = self._asked_s is not None
        return timedelta(seconds=0 if is_asking else time.monotonic() - self._turned_s)

    def asks_for(self) -> timedelta:
        """Tell how long the folder or share has owed us an answer; zero when it owes none."""
        asked_s = self._asked_s
        return timedelta(seconds=0 if asked_s is None else time.monotonic() - asked_s)

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
        self._scans.epoch = epoch
        self._scans.ask()
        self._quiet.wake()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except PlaceLost as lost:
                self._lose(str(lost))
            except Exception as error:  # noqa: BLE001 - whatever it is, this root is tried again, the others go on
                self._fail(error)
        self._stop_listening()
        self._source.close()

    def _turn(self) -> None:
        self._turned_s = time.monotonic()
        if self._turned_s >= self._next_check_s:
            self._next_check_s = self._turned_s + CHECK_EVERY.total_seconds()
            self._check_place()
        if self._place is not None:
            self._mind_bursts()
            with self._asking():
                self._scans.go_on(self._has_room)
        busy = self._scans.has_work and self._has_room()
        self._look_at_due(self._quiet.take(_BATCH, 0.0 if busy else _TURN_S))

    def _fail(self, error: Exception) -> None:
        if repr(error) != self._last_failure:  # said once, not every two seconds
            _log.exception("a root fails; it is tried again", root=as_text(self.root))
        self._last_failure = repr(error)
        self.state = RootState.FAILING
        self._leave_place()
        self._stopping.wait(CHECK_EVERY.total_seconds())

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Let others see that we wait for a folder's or a share's answer, which may never come."""
        self._asked_s = time.monotonic()
        try:
            yield
        finally:
            self._turned_s = time.monotonic()  # what it took was no fault of ours
            self._asked_s = None

    @contextmanager
    def _own_work(self) -> Iterator[None]:
        """Let others see that it is not the place which we wait for just now: the journal is our own."""
        was_asking = self._asked_s is not None
        if was_asking:
            self._turned_s, self._asked_s = time.monotonic(), None
        try:
            yield
        finally:
            if was_asking:
                self._asked_s = time.monotonic()

    # --- the place itself

    def _check_place(self) -> None:
        with self._asking():
            place = self._source.find()
            if place is None:
                self._lose("it is not there, or cannot be listed")
                return
            if place != self._place:
                self._enter(place)
            elif self._is_deaf() and time.monotonic() >= self._next_listen_s:
                self._listen(place)
            self._judge_emptiness(place)

    def _is_deaf(self) -> bool:
        return not self._hears or (self._listener is not None and not self._listener.alive)

    def _judge_emptiness(self, place: Place) -> None:
        """Tell a mount point without its mount, or a share that shows nothing, from a folder in use."""
        if place.is_empty():
            if not self._is_emptied(place) and self._spool.knows_files(self.root):
                self._show_offline("it is empty, though there were files in it")
            return
        if self.state is RootState.OFFLINE:
            self._show_online()
        if not self._remembered and place.identity is not None:
            self._spool.remember_place(self.root, place.identity)
            self._remembered = True

    def _is_emptied(self, place: Place) -> bool:
        """Tell whether this is the very folder that had files in it: then somebody emptied it."""
        return place.identity is not None and place.identity == self._spool.place(self.root)

    def _lose(self, reason: str) -> None:
        self._leave_place()
        self._show_offline(reason)

    def _show_offline(self, reason: str) -> None:
        if self.state is not RootState.OFFLINE:
            _log.warning(
                "a watched folder is offline; what is known of it stays known",
                root=as_text(self.root),
                reason=reason,
            )
        self.state = RootState.OFFLINE

    def _show_online(self) -> None:
        self.state = RootState.WATCHING if self._hears else RootState.SCANNING_ONLY
        self._scans.ask()

    def _enter(self, place: Place) -> None:
        self._leave_place()
        self._place, self.backend, self._remembered = place, place.backend, False
        self._listen(place)
        _log.info(
            "watching a folder", root=as_text(self.root), recursive=self._recursive, backend=place.backend
        )

    def _leave_place(self) -> None:
        self._stop_listening()
        self._scans.leave()
        self._quiet.clear()
        self._place = None

    def _listen(self, place: Place) -> None:
        self._stop_listening()
        self._next_listen_s = time.monotonic() + (0 if self._hears else _LISTEN_AGAIN.total_seconds())
        hints = Hints(self._quiet, self._see_new_folder, self._see_change)
        try:
            self._listener = place.listen(hints, recursive=self._recursive)
            self._hears = True
        except (OSError, RuntimeError) as error:
            self._go_without_events(error)
        self._scans.enter(
            place,
            lists_often=place.lists_often or not self._hears,
            is_emptied=lambda: self._is_emptied(place),
        )
        self.state = RootState.WATCHING if self._hears else RootState.SCANNING_ONLY

    def _go_without_events(self, error: Exception) -> None:
        if self._hears or self.state is RootState.STARTING:
            _log.error(
                "no events for a folder: it is compared every few seconds instead",
                root=as_text(self.root),
                problem=str(error),
            )
        self._hears = False

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

    # --- scans

    def _see_new_folder(self, path: str) -> None:
        self._scans.see_new_folder(path)
        self._quiet.wake()

    def _see_change(self, path: str) -> None:
        self._scans.see_change(path)
        self._quiet.wake()

    def _has_room(self) -> bool:
        return len(self._quiet) < _SCAN_AHEAD

    def _mind_bursts(self) -> None:
        waiting = len(self._quiet)
        self._burst = self._burst or waiting > _BURST
        if waiting > _MOST_WAITING:
            self._quiet.clear()
        if self._burst and (not waiting or waiting > _MOST_WAITING):
            self._burst = False
            self._scans.ask()

    # --- looks

    def _look_at_due(self, due: Sequence[Quiet]) -> None:
        place = self._place
        if place is None:
            return
        sightings = []
        for quiet in due:
            self._turned_s = time.monotonic()
            sighting = self._see(place, quiet)
            if sighting is not None:
                sightings.append(sighting)
        if sightings:
            # A full disk fails the root; what was seen here is found again by the scan that follows.
            self._spool.add(sightings)
            self._on_spooled.set()
            self._last_failure = ""

    def _see(self, place: Place, quiet: Quiet) -> Sighting | None:
        key = self._key(place, quiet.path)
        known = self._spool.known(key)
        if known is not None and quiet.stamp is not None and known.covers(quiet.stamp, self._scans.epoch):
            return None
        look = self._look(place, quiet)
        if look is None:
            self._see_none(place, quiet)
            return None
        if not look.stamp.has_same_content(quiet.stamp):
            self._quiet.offer(quiet.path, look.stamp)
            return None
        self._scans.marks.note_unfinished(quiet.path, unfinished=look.problem is not None)
        return None if self._was_said(known, look) else self._sighting(key, look)

    def _look(self, place: Place, quiet: Quiet) -> Look | None:
        """Look at a file, unless that has cost us the place before: it must not keep the others waiting."""
        if time.monotonic() >= self._forgive_s:
            self._forgive_s = time.monotonic() + _FORGIVEN_AFTER.total_seconds()
            self._blamed.clear()
        if self._blamed.count(quiet.path) >= _BLAME_ENOUGH and quiet.stamp is not None:
            return Look(quiet.stamp, problem="asking for the file ends the connection", may_pass=True)
        self._blamed.append(quiet.path)
        with self._asking():
            look = place.look(quiet.path)
        if quiet.path in self._blamed:
            self._blamed.remove(quiet.path)
        return look

    def _see_none(self, place: Place, quiet: Quiet) -> None:
        with self._asking():
            stamp = place.stamp(quiet.path)
        self._scans.marks.note_unfinished(quiet.path, unfinished=False)
        if stamp is not None:
            self._quiet.offer(quiet.path, stamp)  # it changed under our look
        else:
            _log.debug("a file is gone before its turn, or no regular file", path=as_text(quiet.path))

    def _was_said(self, known: Known | None, look: Look) -> bool:
        return (
            known is not None
            and known.is_of(self._scans.epoch)
            and known.problem == look.problem
            and look.stamp.has_same_content(known.stamp)
        )

    def _sighting(self, key: FileKey, look: Look) -> Sighting:
        event = frame_event(key, look, telescope=self._telescope, now=utc_now())
        if look.problem is not None:
            _log.warning("a file cannot be read", root=event.root, path=event.path, problem=look.problem)
        stamp = look.stamp.never_matching() if look.may_pass else look.stamp
        return Sighting(key, stamp, look.problem, event.model_dump_json())

    def _key(self, place: Place, path: str) -> FileKey:
        folder, _, name = path[len(place.top) + 1 :].rpartition("/")
        return FileKey(self.root, folder, name)


def _source(root: WatchRoot, backend: str) -> Source:
    if isinstance(root.path, SmbPath):
        # Cryptography and all: 15 MB that a home with folders alone does without.
        from skyrelay_watcher.smb_place import SmbSource

        return SmbSource(root.path, backend)
    return LocalSource(root.path, backend)
