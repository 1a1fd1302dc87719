"""Waiting for a batch stack: events make it quick, polling makes it certain.

The polls have a thread of their own, so that a telescope which does not answer delays nobody who
asks to stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.seestar.connection import Connection
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.stack_run import StackRun, StackState

POLL_EVERY = timedelta(seconds=3)
_GLANCE = timedelta(seconds=0.25)  # how often should_stop is asked
_JOIN_S = 0.5  # a poll that hangs ends by itself, at its own deadline


def watch_stack(
    connection: Connection,
    poll: Callable[[], StackRun],
    *,
    deadline: Deadline,
    settle: timedelta,
    on_progress: Callable[[StackRun], None],
    should_stop: Callable[[], bool],
) -> StackRun:
    """Follow a run until it ends, the deadline passes or somebody asks to stop.

    Parameters
    ----------
    poll
        Asks the telescope; its transient errors are endured while there is time.
    settle
        For how long "no run" is not believed: a started one may not show at once.

    Returns
    -------
    StackRun
        The last that was seen; look at its state.

    Raises
    ------
    SkyrelayError
        What the last poll said, if it failed for good, or if the time is over and nothing newer is known.
    """
    newest = _Newest(poll())
    patience = Deadline.after(settle)
    with connection.subscribed("BatchStack") as events, _polling(poll, newest):
        shown: StackRun | None = None
        while True:
            run = newest.get()
            if run != shown:
                on_progress(run)
                shown = run
            patience = patience if run.state is StackState.NONE else Deadline.after(settle)
            if run.ended:
                return _with_output(run, poll)
            if patience.passed or should_stop():
                return run
            if deadline.passed:
                newest.raise_failure()
                return run
            if event := events.take(deadline.or_after(_GLANCE).left):
                newest.put(StackRun.parse(event.fields))


def _with_output(run: StackRun, poll: Callable[[], StackRun]) -> StackRun:
    """Ask once more for a success whose event did not say what came out."""
    if run.state is not StackState.COMPLETE or run.output_files:
        return run
    asked = poll()
    return asked if asked.ended else run


class _Newest:
    """The newest that is known of the run, from whichever side."""

    def __init__(self, run: StackRun) -> None:
        self._run = run
        self._failure: SkyrelayError | None = None
        self._lock = threading.Lock()

    def get(self) -> StackRun:
        """Give it; raises what went wrong for good."""
        with self._lock:
            if self._failure is not None and not isinstance(self._failure, TransientError):
                raise self._failure
            return self._run

    def put(self, run: StackRun) -> None:
        """Take in what was seen; an end stays, also if somebody clears it at once."""
        with self._lock:
            self._failure = None
            if not (self._run.ended and run.state is StackState.NONE):
                self._run = run

    def fail(self, failure: SkyrelayError) -> None:
        """Take in that it cannot be seen now."""
        with self._lock:
            self._failure = failure

    def raise_failure(self) -> None:
        """Say that what is known is old, if it is."""
        with self._lock:
            if self._failure is not None:
                raise self._failure


@contextmanager
def _polling(poll: Callable[[], StackRun], newest: _Newest) -> Iterator[None]:
    done = threading.Event()

    def ask_on() -> None:
        while not done.wait(POLL_EVERY.total_seconds()):
            try:
                newest.put(poll())
            except SkyrelayError as error:
                newest.fail(error)

    thread = threading.Thread(target=ask_on, name="stack polls", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(_JOIN_S)
