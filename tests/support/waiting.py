"""Wait for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], within_s: float = 20.0, every_s: float = 0.02) -> T:
    """Ask ``check`` until it gives something true; fail after ``within_s`` with its last answer."""
    deadline = time.monotonic() + within_s
    while not (answer := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {within_s} s: {getattr(check, '__name__', check)}")
        time.sleep(every_s)
    return answer
