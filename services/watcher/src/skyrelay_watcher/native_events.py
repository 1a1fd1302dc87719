"""What the system says of a local folder: watchdog's observer (FSEvents, kqueue, …), turned into hints.

On Linux `inotify_events` stands in for it. The observer is asked only for events that can end in a new or
changed file: those that our own reading makes (opened, closed without writing) never reach Python.
"""

from __future__ import annotations

import os
import sys
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
from skyrelay_watcher.places import Hints, Listener

_FILE_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent, FileMovedEvent, FileModifiedEvent, FileClosedEvent, FileAttribEvent,
]  # fmt: skip
_FOLDER_EVENTS: list[type[FileSystemEvent]] = [DirCreatedEvent, DirMovedEvent]
_JOIN_S = 1.0


class NativeEvents:
    """Hands on the events of one folder.

    Parameters
    ----------
    folder
        It must not be a symbolic link (the kernel would watch the link).
    recursive
        Whether folders below it count, those that appear later too.
    hints
        Who is told; of each folder that appeared too: files may have been put into it before it was watched.

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
        hints: Hints,
    ) -> None:
        self._folder = folder
        self._recursive = recursive
        self._handler = _Handler(hints)
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
    def __init__(self, hints: Hints) -> None:
        self._hints = hints

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.is_directory:
            self._see_folder(event)
        elif isinstance(event, FileMovedEvent):
            self._hints.quiet.drop(os.fsdecode(event.src_path))
            self._see_arrival(os.fsdecode(event.dest_path))
        elif isinstance(event, FileCreatedEvent):
            self._see_arrival(os.fsdecode(event.src_path))
        else:
            written_on = isinstance(event, FileModifiedEvent)
            self._see_file(os.fsdecode(event.src_path), written_on=written_on)

    def _see_folder(self, event: FileSystemEvent) -> None:
        if isinstance(event, DirCreatedEvent | DirMovedEvent):
            self._hints.on_new_folder(os.fsdecode(event.dest_path or event.src_path))

    def _see_arrival(self, path: str) -> None:
        if self._hints.on_arrival is not None:
            self._hints.on_arrival(path)
        self._see_file(path, written_on=False)

    def _see_file(self, path: str, *, written_on: bool) -> None:
        # A file that is being written needs no look; its stamp would be stale with the next write.
        if is_fits_name(path):
            self._hints.quiet.touch(path, None if written_on else stamp_of(path))


def native_events(folder: Path, *, recursive: bool, hints: Hints) -> Listener:
    """Give what hears this system's events."""
    if sys.platform == "linux":
        from skyrelay_watcher.inotify_events import InotifyEvents

        return InotifyEvents(folder, recursive=recursive, hints=hints)
    return NativeEvents(folder, recursive=recursive, hints=hints)
