"""Where a root's files are: a folder here (`local_place`), or of a share that is not mounted (`smb_place`).

Paths are texts that begin with the place's ``top`` and use ``/``; folders are relative to it, ``""`` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol

from skyrelay_watcher.fits_look import Look, Stamp
from skyrelay_watcher.quiet_paths import QuietPaths


class PlaceLost(Exception):  # noqa: N818 - the state it names
    """The mount or the share is gone: what it would say now is nothing about its files."""


class Kind(Enum):
    """What an entry of a folder is to us."""

    FITS = auto()
    FOLDER = auto()
    OTHER = auto()


class Entry(NamedTuple):
    """An entry of a folder; only FITS files bear a stamp."""

    name: str
    kind: Kind
    stamp: Stamp | None = None


class Mark(NamedTuple):
    """What changes when names come or go in a folder: which folder it is, and its time of change."""

    device: int
    inode: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Hints:
    """Who is told when something happens.

    Attributes
    ----------
    quiet
        Gets the path of each FITS file that something happened to, where the place tells so much.
    on_new_folder
        Told the path of each folder that appeared, with whatever is in it by now.
    on_change
        Told the path of each folder in which something happened, where the place tells no more.
    on_arrival
        Told the path of each file that was made or got its name, where the place tells so much.
    """

    quiet: QuietPaths
    on_new_folder: Callable[[str], None]
    on_change: Callable[[str], None]
    on_arrival: Callable[[str], None] | None = None


class Listener(Protocol):
    """What tells of changes as they happen: hints only, a listing is the truth."""

    @property
    def alive(self) -> bool:
        """Whether hints can still come."""

    def start(self) -> None:
        """Begin. Raises `OSError` or `RuntimeError` when that cannot be done."""

    def stop(self) -> None:
        """End; safe at any time."""


class Place(Protocol):
    """What is there now below a root. Every method may raise `PlaceLost`."""

    @property
    def top(self) -> str:
        """The path that all paths begin with."""

    @property
    def backend(self) -> str:
        """How changes are noticed: ``native``, ``snapshot`` or ``smb``."""

    @property
    def identity(self) -> str | None:
        """What names this very folder, also tomorrow; `None` where nothing does."""

    @property
    def lists_often(self) -> bool:
        """Whether folders must be compared every few seconds, since not all changes are told of."""

    def is_empty(self) -> bool:
        """Tell whether there is nothing at all in it."""

    def mark(self, folder: str) -> Mark:
        """Give the folder's mark, without listing it. Raises `OSError` when there is no such folder."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """List a folder. Raises `OSError` when that cannot be done."""

    def stamp(self, path: str) -> Stamp | None:
        """Give the stamp of the regular file at ``path``; `None` when there is none."""

    def look(self, path: str) -> Look | None:
        """Look at the file at ``path``, as `fits_look.look_at` does."""

    def listen(self, hints: Hints, *, recursive: bool) -> Listener | None:
        """Begin to hear of changes; `None` where nothing is told. Raises as `Listener.start` does."""


class Source(Protocol):
    """Finds a root's place, again and again."""

    def find(self) -> Place | None:
        """Give the place that is there now, the same object as long as it is the same place."""

    def close(self) -> None:
        """Let go of what is held open."""
