"""Children come for work that waits, and go when it is over: each holds some 40 MB of a Raspberry Pi."""

from __future__ import annotations

from time import monotonic
from typing import Any

from celery.bootsteps import RUN
from celery.worker.autoscale import Autoscaler

_LOOK_EVERY_S = 0.5
_KEEP_S = 60.0


class Patience:
    """Says how many children more or fewer there are to be, from one look to the next."""

    def __init__(self, now_s: float) -> None:
        self._too_few_before = False
        self._last_needed_s = now_s

    def change(self, wanted: int, there: int, now_s: float) -> int:
        """Give how many are to come (or to go, if negative) when ``wanted`` would have work.

        They come if there were too few at the look before, too; they go if all were last needed a minute ago.
        """
        too_few_before, self._too_few_before = self._too_few_before, wanted > there
        if wanted >= there:
            self._last_needed_s = now_s
            return wanted - there if too_few_before else 0
        return wanted - there if now_s - self._last_needed_s > _KEEP_S else 0


class PatientAutoscaler(Autoscaler):  # type: ignore[misc] # Celery ships no types
    """Scales the pool with patience.

    Celery's own adds a child whenever a task comes while another is worked on, and keeps it as long as tasks
    come at all: short looks at the telescopes, which come together every half minute, kept all of them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "keepalive": _LOOK_EVERY_S})  # so often the worker's loop looks
        self._patience = Patience(monotonic())

    def maybe_scale(self, req: object = None) -> None:
        """Look, when it is time to: not when a task comes (``req``), nor in a worker that ends."""
        if req is not None or self.worker.blueprint.state != RUN:
            return
        # Children that have ended are replaced by the pool.
        fewest = min(self.min_concurrency, self.processes)
        wanted = min(max(self.qty, fewest), self.max_concurrency)
        change = self._patience.change(wanted, self.processes, monotonic())
        if change > 0:
            self._grow(change)
        elif change < 0:
            self._shrink(-change)
        if change:
            self.pool.maintain_pool()
