"""`ImageWatcher`: one folder, one callback for each FITS file that appears in it.

For people's own scripts. The service does the same for many folders, with a memory (`root_watch`).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from skyrelay.fits_header import CardValue, FitsHeader
from skyrelay_watcher.fits_look import Look, Stamp, look_at
from skyrelay_watcher.folder_marks import FolderMarks
from skyrelay_watcher.local_place import LocalPlace, LocalSource
from skyrelay_watcher.places import Entry, Hints, Kind, Listener, PlaceLost
from skyrelay_watcher.quiet_paths import Quiet, QuietPaths, look_again

# A script that uses this class configures Python's own logging, or nothing at all.
_log = logging.getLogger(__name__)

_BATCH = 100
_TURN_S = 1.0
_CHECK_S = 2.0  # whether the folder is still the same; on a network mount also: whether files came
_FULL_S = 60.0  # all files' stamps, where no event tells of one that was written on
_JOIN_S = 5.0
_COMMENTARY = frozenset({"COMMENT", "HISTORY", ""})

ImageCallback = Callable[[dict[str, Any]], object]


class ImageWatcher:
    """Calls back once for each new FITS file of a folder, when it is quiet and whole.

    Parameters
    ----------
    watch_path
        The folder; the folders below it are not watched.
    callback
        Called in the watcher's one thread with ``{"path": str, "header": dict, "size_kb": float}``:
        the absolute path, the primary header as a flat dictionary without COMMENT, HISTORY and blank
        cards (empty, and a WARNING in the log, when it cannot be read), and the size in kilobytes.
        What it raises is logged and stops nothing.
    debounce_delay
        Seconds for which nothing may happen to a file before it is read; each event begins them anew.

    Attributes
    ----------
    backend
        ``auto``, or ``snapshot`` before `start`: then listings are compared, whatever the mount.

    Notes
    -----
    A file with a good header and fewer bytes than that promises is not offered before it grows.

    On a network mount the kernel tells nothing: there the folder is compared every two seconds. A mount
    that goes away and comes back is watched again, and what is new in it is told.
    """

    def __init__(self, watch_path: str | Path, callback: ImageCallback, debounce_delay: float = 2.0) -> None:
        self.watch_path = Path(watch_path)
        self.debounce_delay = debounce_delay
        self.backend = "auto"
        self._callback = callback
        self._lock = threading.Lock()
        self._session: _Session | None = None

    def start(self) -> None:
        """Begin to watch; a folder that is not there is an ERROR in the log, and nothing starts."""
        with self._lock:
            if self._session is not None:
                return
            if not self.watch_path.is_dir():
                _log.error("%s is not there, or no folder: it is not watched", self.watch_path)
                return
            self._start_session()

    def stop(self) -> None:
        """Forget the files that wait, and end the threads; safe at any time, the callback included."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.stop()

    def _start_session(self) -> None:
        source = LocalSource(self.watch_path, self.backend)
        session = _Session(self.watch_path, source, self._callback, self.debounce_delay)
        try:
            session.start()
        except (OSError, RuntimeError) as error:
            _log.error("%s cannot be watched: %s", self.watch_path, error)
            return
        self._session = session


class _Session:
    """One span between start and stop, with its threads."""

    def __init__(self, folder: Path, source: LocalSource, callback: ImageCallback, delay_s: float) -> None:
        self._shown_folder = os.path.abspath(folder)  # noqa: PTH100 - Path.absolute keeps "..", which scripts need not see
        self._callback = callback
        self._quiet = QuietPaths(delay_s)
        self._source = source
        self._place: LocalPlace | None = None
        self._listener: Listener | None = None
        self._told: dict[str, Stamp] = {}  # what was there at the start, or has been told since
        self._marks = FolderMarks()
        self._missed = threading.Event()
        self._next_check_s = self._next_full_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="image-watcher", daemon=True)

    def start(self) -> None:
        place = self._source.find()
        if place is None:
            raise OSError("it cannot be listed")
        try:
            self._place = place
            self._listen(place)
            self._told = {entry.name: entry.stamp for entry in _files_of(place) if entry.stamp is not None}
            self._thread.start()
        except BaseException:
            self._stop_listening()
            self._source.close()
            raise

    def stop(self) -> None:
        self._stopping.set()
        self._quiet.clear()
        self._quiet.wake()
        if self._thread is not threading.current_thread():  # stopped by its own callback
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._mind_place()
            for quiet in self._quiet.take(_BATCH, _TURN_S):
                if self._stopping.is_set():
                    break
                self._see(quiet)
        self._stop_listening()
        self._source.close()

    # --- the folder itself: a mount may go and come back, and tells nothing of what happened meanwhile

    def _mind_place(self) -> None:
        if time.monotonic() < self._next_check_s:
            return
        self._next_check_s = time.monotonic() + _CHECK_S
        try:
            place = self._source.find()
            if place is None or place != self._place:
                self._enter(place)
            if place is not None and (self._listener is None or self._missed.is_set()):
                self._missed.clear()
                self._compare(place)
            elif self._listener is not None and not self._listener.alive:
                self._enter(place)
        except (OSError, RuntimeError, PlaceLost) as error:
            self._lose(str(error))

    def _enter(self, place: LocalPlace | None) -> None:
        if place is None:
            self._lose("it is not there, or cannot be listed")
            return
        self._stop_listening()
        self._listen(place)
        self._place = place
        self._marks.clear()
        self._compare(place)

    def _lose(self, problem: str) -> None:
        if self._place is not None and not self._stopping.is_set():
            _log.warning("%s cannot be watched for now: %s", self._shown_folder, problem)
        self._place = None
        self._stop_listening()

    def _listen(self, place: LocalPlace) -> None:
        # Of folders that is told only when events were lost: then everything has to be looked at.
        hints = Hints(self._quiet, self._miss, self._miss, self._forget)
        self._listener = place.listen(hints, recursive=False)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

    def _miss(self, _path: str) -> None:
        self._next_full_s = 0.0
        self._missed.set()

    def _forget(self, path: str) -> None:
        self._told.pop(Path(path).name, None)

    def _compare(self, place: LocalPlace) -> None:
        """Find what no event told of: all of it now and then, else only if names came or went."""
        mark, began_s = place.mark(""), time.monotonic()
        if began_s < self._next_full_s and self._marks.unchanged_since("", mark) is not None:
            self._compare_unfinished(place)
            return
        self._next_full_s = began_s + _FULL_S
        found = list(_files_of(place))
        self._marks.note("", mark, began_s, ())
        for entry in found:
            self._meet(f"{place.top}/{entry.name}", entry.name, entry.stamp)
        if found:  # an empty folder is likelier a mount point without its mount
            names = {entry.name for entry in found}
            self._told = {name: stamp for name, stamp in self._told.items() if name in names}

    def _compare_unfinished(self, place: LocalPlace) -> None:
        for path in self._marks.unfinished():
            self._meet(path, Path(path).name, place.stamp(path))

    def _meet(self, path: str, name: str, stamp: Stamp | None) -> None:
        if stamp is not None and not stamp.has_same_content(self._told.get(name)):
            self._quiet.offer(path, stamp)

    # --- the files

    def _see(self, quiet: Quiet) -> None:
        name = Path(quiet.path).name
        look = look_at(quiet.path)
        if look is None:
            look_again(quiet.path, self._quiet)
        elif not look.stamp.has_same_content(quiet.stamp):
            self._quiet.offer(quiet.path, look.stamp)
        elif not look.stamp.has_same_content(self._told.get(name)):
            self._told[name] = look.stamp
            self._marks.note_unfinished(quiet.path, unfinished=look.problem is not None)
            self._tell(quiet.path, look)

    def _tell(self, path: str, look: Look) -> None:
        if look.cut_short:
            _log.warning("%s: %s; waiting for the rest", path, look.problem)
        else:
            self._call(path, look)

    def _call(self, path: str, look: Look) -> None:
        if look.header is None:
            _log.warning("the header of %s cannot be read: %s", path, look.problem)
        event = {
            "path": f"{self._shown_folder}/{Path(path).name}",
            "header": _flat(look.header) if look.header else {},
            "size_kb": look.stamp.size_bytes / 1024,
        }
        try:
            self._callback(event)
        except Exception:  # noqa: BLE001 - somebody's script; its fault must not end the watching
            _log.exception("the callback failed for %s", path)


def _files_of(place: LocalPlace) -> Iterator[Entry]:
    return (entry for entry in place.entries("") if entry.kind is Kind.FITS)


def _flat(header: FitsHeader) -> dict[str, CardValue]:
    return {keyword: value for keyword, value in header.cards.items() if keyword not in _COMMENTARY}
