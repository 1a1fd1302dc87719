"""Paths that something happened to, until they have been quiet for a while.

One ordered dictionary stands for all timers: since every path waits equally long, the one that was
touched last is due last. There is no thread and no heap entry a file.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition

from skyrelay_watcher.fits_look import Stamp, stamp_of


@dataclass(frozen=True, slots=True)
class Quiet:
    """A path whose time has come; ``stamp`` is what was seen of it last, `None` when nobody looked since."""

    path: str
    stamp: Stamp | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    due: float
    stamp: Stamp | None


class QuietPaths:
    """What waits to be quiet; any thread may touch, one takes.

    Parameters
    ----------
    delay_s
        How long nothing may happen to a path before it is due, in seconds.
    clock
        Monotonic seconds.
    """

    def __init__(self, delay_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._delay_s = delay_s
        self._clock = clock
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._changed = Condition()
        self._awake = False

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, path: str) -> bool:
        return path in self._waiting

    def touch(self, path: str, stamp: Stamp | None) -> None:
        """Begin the wait of ``path`` anew."""
        with self._changed:
            first = not self._waiting
            self._waiting[path] = _Waiting(self._clock() + self._delay_s, stamp)
            self._waiting.move_to_end(path)
            if first:
                self._changed.notify()

    def offer(self, path: str, stamp: Stamp | None) -> None:
        """Let ``path`` wait, unless it waits already: its timer then runs on."""
        if path not in self._waiting:
            self.touch(path, stamp)

    def drop(self, path: str) -> None:
        """Forget ``path``: it is gone, or has another name now."""
        with self._changed:
            self._waiting.pop(path, None)

    def clear(self) -> None:
        """Forget all."""
        with self._changed:
            self._waiting.clear()

    def wake(self) -> None:
        """Have the one who waits in `take` come back at once."""
        with self._changed:
            self._awake = True
            self._changed.notify()

    def take(self, most: int, wait_s: float) -> list[Quiet]:
        """Take up to ``most`` paths that are due, waiting up to ``wait_s`` seconds for the first."""
        deadline = self._clock() + wait_s
        with self._changed:
            while (pause := self._pause(deadline)) > 0:
                self._changed.wait(pause)
            self._awake = False
            return self._take_due(most)

    def _pause(self, deadline: float) -> float:
        if self._awake:
            return 0.0
        first = next(iter(self._waiting.values()), None)
        return min(deadline, first.due if first else deadline) - self._clock()

    def _take_due(self, most: int) -> list[Quiet]:
        now = self._clock()
        due: list[Quiet] = []
        while self._waiting and len(due) < most:
            path, waiting = next(iter(self._waiting.items()))
            if waiting.due > now:
                break
            del self._waiting[path]
            due.append(Quiet(path, waiting.stamp))
        return due


def look_again(path: str, quiet: QuietPaths) -> bool:
    """Let ``path``, which changed under a look, wait once more; `False` when no regular file is there."""
    stamp = stamp_of(path)
    if stamp is not None:
        quiet.offer(path, stamp)
    return stamp is not None
