"""What folders looked like when they were listed, so that unchanged ones need not be listed again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from skyrelay_watcher.places import Mark

# A folder's time may be as coarse as 2 s (FAT), or come late from a mount's cache: only a listing that began
# that long after the time was first seen is known to hold everything that the time stands for.
SETTLED_AFTER_S = 5.0
_MOST_UNFINISHED = 1_000  # beyond that, half-written files wait for the next full scan


@dataclass(slots=True)
class _Folder:
    mark: Mark
    first_seen_s: float
    settled: bool
    folders: tuple[str, ...]


class FolderMarks:
    """Memory of one root; it is only ever a reason not to list, so it may be lost at any time.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folders: dict[str, _Folder] = {}
        self._unfinished: dict[str, None] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._folders.clear()
        self._unfinished.clear()

    def __contains__(self, folder: str) -> bool:
        return folder in self._folders

    def unchanged_since(self, folder: str, mark: Mark) -> tuple[str, ...] | None:
        """Give the folders in one that is as it was when it was listed; `None`: list it."""
        known = self._folders.get(folder)
        return known.folders if known and known.settled and known.mark == mark else None

    def note(self, folder: str, mark: Mark, began_s: float, folders: Iterable[str]) -> None:
        """Write down what a listing found that began at ``began_s``, with the mark from just before it."""
        known = self._folders.get(folder)
        first_seen_s = known.first_seen_s if known and known.mark == mark else began_s
        settled = began_s - first_seen_s >= SETTLED_AFTER_S
        self._folders[folder] = _Folder(mark, first_seen_s, settled, tuple(folders))

    def drop(self, folder: str) -> None:
        """Forget a folder that cannot be listed."""
        self._folders.pop(folder, None)

    def now_s(self) -> float:
        """Give the clock's seconds."""
        return self._clock()

    def note_unfinished(self, path: str, *, unfinished: bool) -> None:
        """Write down whether a file may yet grow, which its folder's mark does not show."""
        if not unfinished:
            self._unfinished.pop(path, None)
        elif len(self._unfinished) < _MOST_UNFINISHED:
            self._unfinished[path] = None

    def unfinished(self) -> list[str]:
        """Give the paths of the files that may yet grow."""
        return list(self._unfinished)
