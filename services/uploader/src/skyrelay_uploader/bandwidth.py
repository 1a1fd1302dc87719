"""Keep what all uploads send together below a rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Bandwidth:
    """A rate that uploads share.

    Parameters
    ----------
    bytes_per_s
        The rate; 0: none.
    clock, sleep
        Seconds that only ever grow, and how to let some pass.
    """

    def __init__(
        self,
        bytes_per_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s, self._clock, self._sleep = bytes_per_s, clock, sleep
        self._lock = threading.Lock()
        self._free_at_s = clock()

    def allow(self, bytes_per_s: float) -> None:
        """Change the rate, for uploads under way too."""
        self._bytes_per_s = bytes_per_s

    def pace(self) -> Callable[[int, int | None], None]:
        """Give what one upload is to call with each piece that it hands to the connection.

        It takes the bytes so far (and the whole, which it does not need), and returns when the next piece
        may go.
        """
        so_far = 0

        def take(sent: int, _whole: int | None) -> None:
            nonlocal so_far
            piece, so_far = sent - so_far, sent
            self._spend(piece)

        return take

    def _spend(self, piece: int) -> None:
        if not self._bytes_per_s:
            return
        with self._lock:
            now_s = self._clock()
            self._free_at_s = max(self._free_at_s, now_s) + piece / self._bytes_per_s
            wait_s = self._free_at_s - now_s
        self._sleep(wait_s)
