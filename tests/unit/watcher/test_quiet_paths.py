"""The timer of a path begins anew with each event; what is due comes out once, in order."""

from __future__ import annotations

import threading
import time

from skyrelay_watcher.fits_look import Stamp
from skyrelay_watcher.quiet_paths import Quiet, QuietPaths

_STAMP = Stamp(1, 2, 3)


class Clock:
    """Seconds that pass when we say so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_an_event_restarts_the_timer_of_its_path_alone() -> None:
    clock = Clock()
    quiet = QuietPaths(2.0, clock)
    quiet.touch("a", _STAMP)
    quiet.touch("b", None)
    clock.now_s += 1.5
    quiet.touch("a", None)
    clock.now_s += 0.6
    assert quiet.take(10, 0.0) == [Quiet("b", None)]
    clock.now_s += 1.5
    assert quiet.take(10, 0.0) == [Quiet("a", None)]
    assert len(quiet) == 0


def test_an_offer_leaves_a_running_timer_alone() -> None:
    clock = Clock()
    quiet = QuietPaths(2.0, clock)
    quiet.touch("a", None)
    clock.now_s += 1.0
    quiet.offer("a", _STAMP)
    clock.now_s += 1.1
    assert quiet.take(10, 0.0) == [Quiet("a", None)]


def test_it_gives_no_more_than_asked_for_and_the_rest_next_time() -> None:
    clock = Clock()
    quiet = QuietPaths(0.0, clock)
    for name in "abc":
        quiet.touch(name, None)
    assert [item.path for item in quiet.take(2, 0.0)] == ["a", "b"]
    assert [item.path for item in quiet.take(2, 0.0)] == ["c"]


def test_what_is_dropped_is_never_due() -> None:
    clock = Clock()
    quiet = QuietPaths(1.0, clock)
    quiet.touch("a", None)
    quiet.drop("a")
    quiet.drop("never there")
    clock.now_s += 5.0
    assert quiet.take(10, 0.0) == []


def test_one_who_waits_is_woken_by_the_first_path() -> None:
    quiet = QuietPaths(0.01)
    took: list[list[Quiet]] = []
    thread = threading.Thread(target=lambda: took.append(quiet.take(10, 30.0)))
    began = time.monotonic()
    thread.start()
    quiet.touch("a", None)
    thread.join(10)
    assert took == [[Quiet("a", None)]]
    assert time.monotonic() - began < 5


def test_one_who_waits_can_be_woken_for_nothing() -> None:
    quiet = QuietPaths(60.0)
    quiet.touch("a", None)
    quiet.wake()
    assert quiet.take(10, 30.0) == []
    assert "a" in quiet
