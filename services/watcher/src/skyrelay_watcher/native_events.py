"""What the kernel says of a local folder: watchdog's observer, turned into paths to look at.

The observer is asked only for events that can end in a new or changed file: those that our own reading
makes (opened, closed without writing) never reach Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from skyrelay_watcher.fits_look import is_fits_name, stamp_of
from skyrelay_watcher.quiet_paths import QuietPaths

_FILE_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent, FileMovedEvent, FileModifiedEvent, FileClosedEvent, FileAttribEvent,
]  # fmt: skip
_FOLDER_EVENTS: list[type[FileSystemEvent]] = [DirCreatedEvent, DirMovedEvent]
_JOIN_S = 1.0


class NativeEvents:
    """Feeds `QuietPaths` from the events of one folder.

    Parameters
    ----------
    folder
        It must not be a symbolic link (the kernel would watch the link).
    recursive
        Whether folders below it count, those that appear later too.
    quiet
        Where FITS files that something happened to are put, by absolute path.
    on_folder
        Told the absolute path of each folder that appeared: files may have been put into it before it
        was watched.
    on_arrival
        Told the absolute path of each file that was made or got its name: it is new, whatever it holds.

    Raises
    ------
    OSError, RuntimeError
        By `start`, if the folder cannot be watched (gone, the kernel's limit reached, no thread to be had).
    """

    def __init__(
        self,
        folder: Path,
        *,
        recursive: bool,
        quiet: QuietPaths,
        on_folder: Callable[[str], None] | None = None,
        on_arrival: Callable[[str], None] | None = None,
    ) -> None:
        self._folder = folder
        self._recursive = recursive
        self._handler = _Handler(quiet, on_folder, on_arrival)
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Begin; what happens from now on is not missed."""
        observer = Observer()
        wanted = _FILE_EVENTS + (_FOLDER_EVENTS if self._recursive else [])
        try:
            observer.schedule(
                self._handler, str(self._folder), recursive=self._recursive, event_filter=wanted
            )
            observer.start()
        except BaseException:
            observer.stop()  # its reading thread runs already
            raise
        self._observer = observer

    @property
    def alive(self) -> bool:
        """Whether events can still come: a deleted folder or a dead thread ends them for good."""
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and all(emitter.is_alive() for emitter in observer.emitters)
        )

    def stop(self) -> None:
        """End, and join the threads; safe at any time."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            if observer.ident is not None:
                observer.join(_JOIN_S)


class _Handler(FileSystemEventHandler):
    def __init__(
        self,
        quiet: QuietPaths,
        on_folder: Callable[[str], None] | None,
        on_arrival: Callable[[str], None] | None,
    ) -> None:
        self._quiet, self._on_folder, self._on_arrival = quiet, on_folder, on_arrival

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.is_directory:
            self._see_folder(event)
        elif isinstance(event, FileMovedEvent):
            self._quiet.drop(os.fsdecode(event.src_path))
            self._see_arrival(os.fsdecode(event.dest_path))
        elif isinstance(event, FileCreatedEvent):
            self._see_arrival(os.fsdecode(event.src_path))
        else:
            written_on = isinstance(event, FileModifiedEvent)
            self._see_file(os.fsdecode(event.src_path), written_on=written_on)

    def _see_folder(self, event: FileSystemEvent) -> None:
        if self._on_folder is not None and isinstance(event, DirCreatedEvent | DirMovedEvent):
            self._on_folder(os.fsdecode(event.dest_path or event.src_path))

    def _see_arrival(self, path: str) -> None:
        if self._on_arrival is not None:
            self._on_arrival(path)
        self._see_file(path, written_on=False)

    def _see_file(self, path: str, *, written_on: bool) -> None:
        # A file that is being written needs no look; its stamp would be stale with the next write.
        if is_fits_name(path):
            self._quiet.touch(path, None if written_on else stamp_of(path))
