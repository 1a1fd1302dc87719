"""`ImageWatcher`: one folder, one callback for each FITS file that appears in it.

For people's own scripts. The service does the same for many folders, with a memory (`root_watch`).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skyrelay.fits_header import CardValue, FitsHeader
from skyrelay_watcher.fits_look import Look, look_at
from skyrelay_watcher.native_events import NativeEvents
from skyrelay_watcher.quiet_paths import Quiet, QuietPaths, look_again

# A script that uses this class configures Python's own logging, or nothing at all.
_log = logging.getLogger(__name__)

_BATCH = 100
_TURN_S = 1.0
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

    Notes
    -----
    A file with a good header and fewer bytes than that promises is not offered before it grows.
    """

    def __init__(self, watch_path: str | Path, callback: ImageCallback, debounce_delay: float = 2.0) -> None:
        self.watch_path = Path(watch_path)
        self.debounce_delay = debounce_delay
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
        session = _Session(self.watch_path, self._callback, self.debounce_delay)
        try:
            session.start()
        except (OSError, RuntimeError) as error:
            _log.error("%s cannot be watched: %s", self.watch_path, error)
            return
        self._session = session


class _Session:
    """One span between start and stop, with its threads."""

    def __init__(self, folder: Path, callback: ImageCallback, delay_s: float) -> None:
        self._shown_folder = os.path.abspath(folder)  # noqa: PTH100 - Path.absolute keeps "..", which scripts need not see
        self._callback = callback
        self._quiet = QuietPaths(delay_s)
        self._events = NativeEvents(folder.resolve(), recursive=False, quiet=self._quiet)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="image-watcher", daemon=True)

    def start(self) -> None:
        self._events.start()
        try:
            self._thread.start()
        except RuntimeError:
            self._events.stop()
            raise

    def stop(self) -> None:
        self._stopping.set()
        self._events.stop()
        self._quiet.clear()
        self._quiet.wake()
        if self._thread is not threading.current_thread():  # stopped by its own callback
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for quiet in self._quiet.take(_BATCH, _TURN_S):
                if self._stopping.is_set():
                    return
                self._see(quiet)

    def _see(self, quiet: Quiet) -> None:
        look = look_at(quiet.path)
        if look is None:
            look_again(quiet.path, self._quiet)
        elif not look.stamp.has_same_content(quiet.stamp):
            self._quiet.offer(quiet.path, look.stamp)
        elif look.cut_short:
            _log.warning("%s: %s; waiting for the rest", quiet.path, look.problem)
        else:
            self._call(quiet.path, look)

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


def _flat(header: FitsHeader) -> dict[str, CardValue]:
    return {keyword: value for keyword, value in header.cards.items() if keyword not in _COMMENTARY}
